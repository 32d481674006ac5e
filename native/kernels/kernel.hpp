// SPDX-License-Identifier: Apache-2.0
//
// The arithmetic of the receiver (docs/format.md, section 6) for one set of instructions. All kernels give the same integers.
//
// Activations are int16 [positions, channels], channels last. A kernel reads up to kSlack elements behind the end of what it
// is given (it takes whole vectors, and multiplies by 0 or drops what it does not need) and never writes there.
//
// Only plain data crosses this border: a kernel is compiled for instructions that a machine may lack, so nothing that is
// compiled along with it (such as a member of std::vector) may be used elsewhere.

#pragma once

#include <cstddef>
#include <cstdint>

#if !defined(AECODEC_PLAIN) && (defined(__x86_64__) || defined(_M_X64))
#define AECODEC_X86
#endif

namespace aecodec {

constexpr std::size_t kSlack = 64;

// Outputs of a layer that read the same inputs: a group, or a part of one whose outputs stand side by side.
struct Block {
  std::size_t input, inputs;    // first one and number
  std::size_t output, outputs;  // likewise
  std::size_t weight, scale;    // where the block begins in Layer's arrays
};

// How the weights of a panel stand: for each pair of inputs, vector by vector, as [input, output] or [output, input]; or for each
// output all inputs, filled up with zeros to a multiple of kDepth.
enum class Packing { kSplit, kPaired, kRows };
constexpr std::size_t kDepth = 8;

// Weights of an output as they are packed.
constexpr std::size_t packed_depth(Packing packing, std::size_t inputs) {
  const std::size_t step = packing == Packing::kRows ? kDepth : 2;
  return (inputs + step - 1) / step * step;
}

// A layer as the kernel that it was packed for wants it: for each block, for each panel of up to `vectors` vectors of outputs, the
// weights in the kernel's packing.
struct Layer {
  const Block* blocks = nullptr;
  std::size_t block_count = 0;
  const std::int16_t* weight = nullptr;
  const std::int32_t* bias = nullptr;        // of each block, filled up with zeros to whole vectors
  const std::int32_t* multiplier = nullptr;  // likewise
  int shift = 0;
  int fraction = 0;
};

// What becomes of a sum. All but kSum scale it first; all that are not named otherwise cut to 16 bits and store int16.
enum class Finish {
  kStore,
  kAct,       // act
  kAdd,       // add + it
  kAddGain,   // scale(add + it, gain, 24)
  kModulate,  // add + other + add * it
  kGate,      // add + other * it
  kPixel,     // cut to 0..255
  kWide,      // int32, cut to 24 bits
  kStep,      // int32, 4096 + it, cut to 2048..262144
  kSum,       // int32, the sum itself
};

struct Job {
  const std::int16_t* x = nullptr;
  std::size_t x_stride = 0;  // from one position to the next
  std::size_t positions = 0;
  void* out = nullptr;
  std::size_t out_stride = 0;          // of out, add and other
  const std::int16_t* add = nullptr;   // may be out
  const std::int16_t* other = nullptr;
  const std::int32_t* gain = nullptr;
};

// y_hat of channels side by side from their means and symbols; y0 may be missing.
struct Dequantization {
  std::size_t count = 0;
  const std::int32_t* mean = nullptr;
  const std::int32_t* step = nullptr;
  const std::int16_t* symbols = nullptr;
  const std::int32_t* gain = nullptr;  // g_s.y_gain
  std::int32_t* y_hat = nullptr;
  std::int16_t* y0 = nullptr;
  std::int16_t* u = nullptr;  // y_hat with the gain
};

struct Kernel {
  const char* name;
  std::size_t lanes;    // outputs in a vector
  std::size_t vectors;  // in a panel at most
  Packing packing;
  void (*pointwise)(const Layer& layer, Finish finish, const Job& job);
  // act(D(x)) of `positions` from three rows that begin one position earlier and end one later. Weights are [9, channels],
  // filled up as the bias is.
  void (*depthwise)(const Layer& layer, const std::int16_t* const rows[3], std::size_t positions, std::int16_t* out);
  void (*dequantize)(const Dequantization& job);
};

extern const Kernel kPlain;
#if defined(AECODEC_X86)
extern const Kernel kAvx2;
extern const Kernel kAvx512;
#elif defined(__ARM_NEON)
extern const Kernel kNeon;
#elif defined(__wasm_simd128__)
extern const Kernel kWasm;
#endif

// A kernel that this machine can run, the i-th best; nullptr behind the last one, which is kPlain.
const Kernel* kernel(std::size_t i);

}  // namespace aecodec
