// SPDX-License-Identifier: Apache-2.0
//
// Layers in float32, for what an encoder does beside the exact receiver: nothing of it is normative. Each output is summed
// in the order of its inputs, so that one kernel gives the same bits however positions are split.
//
// Activations are [positions, channels], channels last. As in kernel.hpp only plain data crosses this border.

#pragma once

#include <cstddef>

#include "kernel.hpp"

namespace aecodec {

// For each panel of up to `vectors` vectors of outputs, for each input: its weights. A depthwise layer has [9, outputs].
// Outputs are filled up with zeros to whole vectors.
struct FloatLayer {
  std::size_t inputs = 0, outputs = 0;
  const float* weight = nullptr;
  const float* bias = nullptr;
};

// What becomes of a sum.
enum class FloatFinish {
  kStore,
  kAct,      // act(it) = it * clamp(0.3 it + 0.5, 0, 1)
  kActKeep,  // likewise, and `keep` gets it
  kSlope,    // it * act'(other)
  kAdd,      // add + it
  kGain,     // it * gain
  kAddGain,  // (add + it) * gain
};

struct FloatJob {
  const float* x = nullptr;
  std::size_t x_stride = 0;  // from one position to the next
  std::size_t positions = 0;
  float* out = nullptr;
  std::size_t out_stride = 0;   // of out, add, other and keep
  const float* add = nullptr;   // may be out
  const float* gain = nullptr;  // of each output, filled up to whole vectors
  const float* other = nullptr;
  float* keep = nullptr;
};

struct FloatKernel {
  std::size_t lanes;    // outputs in a vector
  std::size_t vectors;  // in a panel at most
  void (*pointwise)(const FloatLayer& layer, FloatFinish finish, const FloatJob& job);
  // A 3x3 convolution of three rows that begin one position before `positions` and end one behind; job.x is not looked at.
  // Reads up to kSlack numbers behind the rows.
  void (*depthwise)(const FloatLayer& layer, FloatFinish finish, const float* const rows[3], const FloatJob& job);
};

extern const FloatKernel kPlainFloats;
#if defined(AECODEC_X86)
extern const FloatKernel kAvx2Floats;
extern const FloatKernel kAvx512Floats;
#endif

// Those for the instructions of a kernel.
const FloatKernel& floats(const Kernel& kernel);

}  // namespace aecodec
