// SPDX-License-Identifier: Apache-2.0
// The floats of every machine, and which kernel has others.

#include "floats.hpp"

#if defined(__aarch64__) && defined(__ARM_NEON)
#include <arm_neon.h>
#endif

#include <cstring>

#include "float_loops.hpp"

namespace aecodec {

namespace {

struct Plain {
#if defined(__aarch64__)
  static constexpr std::size_t kLanes = 4, kVectors = 3, kPositions = 8;
#elif defined(__GNUC__)
  static constexpr std::size_t kLanes = 4, kVectors = 2, kPositions = 4;
#else
  static constexpr std::size_t kLanes = 1, kVectors = 2, kPositions = 4;
#endif
#if defined(__GNUC__)
  using Vector = float __attribute__((vector_size(16)));
#else
  using Vector = float;
#endif

  static Vector load(const float* x) {
    Vector a;
    std::memcpy(&a, x, sizeof a);
    return a;
  }
  static void store(float* out, Vector a) { std::memcpy(out, &a, sizeof a); }
  static Vector set(float x) { return x - Vector{}; }  // + would have to turn -0 into 0
  static Vector add(Vector a, Vector b) { return a + b; }
  static Vector sub(Vector a, Vector b) { return a - b; }
  static Vector mul(Vector a, Vector b) { return a * b; }
  static Vector min(Vector a, Vector b) { return a < b ? a : b; }
  static Vector max(Vector a, Vector b) { return a > b ? a : b; }
  static Vector if_less(Vector a, Vector b, Vector x, Vector y) { return a < b ? x : y; }
#if defined(__aarch64__) && defined(__ARM_NEON)
  static Vector fma(Vector a, Vector b, Vector c) { return vfmaq_f32(c, a, b); }
#else
  static Vector fma(Vector a, Vector b, Vector c) { return a * b + c; }
#endif
};

}  // namespace

const FloatKernel kPlainFloats = FloatLoops<Plain>::kernel();

const FloatKernel& floats([[maybe_unused]] const Kernel& kernel) {
#if defined(AECODEC_X86)
  if (&kernel == &kAvx512) return kAvx512Floats;
  if (&kernel == &kAvx2) return kAvx2Floats;
#endif
  return kPlainFloats;
}

}  // namespace aecodec
