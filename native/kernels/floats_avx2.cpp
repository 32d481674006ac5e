// SPDX-License-Identifier: Apache-2.0

#include "floats.hpp"

#if defined(AECODEC_X86)

#include <immintrin.h>

// For all that follows, and for nothing that is shared with other files.
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#elif defined(__GNUC__)
#pragma GCC target("avx2,fma")
#endif

#include "float_loops.hpp"

namespace aecodec {

namespace {

struct Avx2 {
  static constexpr std::size_t kLanes = 8, kVectors = 2, kPositions = 6;
  using Vector = __m256;

  static Vector load(const float* x) { return _mm256_loadu_ps(x); }
  static void store(float* out, Vector a) { _mm256_storeu_ps(out, a); }
  static Vector set(float x) { return _mm256_set1_ps(x); }
  static Vector add(Vector a, Vector b) { return _mm256_add_ps(a, b); }
  static Vector sub(Vector a, Vector b) { return _mm256_sub_ps(a, b); }
  static Vector mul(Vector a, Vector b) { return _mm256_mul_ps(a, b); }
  static Vector min(Vector a, Vector b) { return _mm256_min_ps(a, b); }
  static Vector max(Vector a, Vector b) { return _mm256_max_ps(a, b); }
  static Vector fma(Vector a, Vector b, Vector c) { return _mm256_fmadd_ps(a, b, c); }
  static Vector if_less(Vector a, Vector b, Vector x, Vector y) {
    return _mm256_blendv_ps(y, x, _mm256_cmp_ps(a, b, _CMP_LT_OQ));
  }
};

}  // namespace

const FloatKernel kAvx2Floats = FloatLoops<Avx2>::kernel();

}  // namespace aecodec

#if defined(__clang__)
#pragma clang attribute pop
#endif

#endif
