// SPDX-License-Identifier: Apache-2.0

#include "floats.hpp"

#if defined(AECODEC_X86)

#include <immintrin.h>

// For all that follows, and for nothing that is shared with other files.
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f"))), apply_to = function)
#elif defined(__GNUC__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // what GCC's own intrinsics leave undefined (GCC bug 105593)
#pragma GCC target("avx512f")
#endif

#include "float_loops.hpp"

namespace aecodec {

namespace {

struct Avx512 {
  static constexpr std::size_t kLanes = 16, kVectors = 3, kPositions = 8;
  using Vector = __m512;

  static Vector load(const float* x) { return _mm512_loadu_ps(x); }
  static void store(float* out, Vector a) { _mm512_storeu_ps(out, a); }
  static Vector set(float x) { return _mm512_set1_ps(x); }
  static Vector add(Vector a, Vector b) { return _mm512_add_ps(a, b); }
  static Vector sub(Vector a, Vector b) { return _mm512_sub_ps(a, b); }
  static Vector mul(Vector a, Vector b) { return _mm512_mul_ps(a, b); }
  static Vector min(Vector a, Vector b) { return _mm512_min_ps(a, b); }
  static Vector max(Vector a, Vector b) { return _mm512_max_ps(a, b); }
  static Vector fma(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }
  static Vector if_less(Vector a, Vector b, Vector x, Vector y) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), y, x);
  }
};

}  // namespace

const FloatKernel kAvx512Floats = FloatLoops<Avx512>::kernel();

}  // namespace aecodec

#if defined(__clang__)
#pragma clang attribute pop
#endif

#endif
