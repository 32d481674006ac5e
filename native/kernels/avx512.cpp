// SPDX-License-Identifier: Apache-2.0

#include "kernel.hpp"

#if defined(AECODEC_X86)

#include <immintrin.h>

#include <cstring>

// For all that follows, and for nothing that is shared with other files.
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni"))), apply_to = function)
#elif defined(__GNUC__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // what GCC's own intrinsics leave undefined (GCC bug 105593)
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512vnni")
#endif

#include "loops.hpp"

namespace aecodec {

namespace {

struct Avx512 {
  static constexpr std::size_t kLanes = 16, kVectors = 3, kPositions = 8;
  static constexpr Packing kPacking = Packing::kPaired;
  using Sum = __m512i;
  using Weights = __m512i;
  using Pair = __m512i;

  // From a shift of 32 on the result fits in 32 bits, because products are below 2^62.
  struct Shift {
    explicit Shift(int count)
        : bits(_mm_cvtsi32_si128(count)), half(_mm512_set1_epi64(1ll << (count - 1))), fits(count >= 32) {}
    __m128i bits;
    __m512i half;
    bool fits;
  };

  static Sum load(const std::int32_t* x) { return _mm512_loadu_si512(x); }
  static void store(std::int32_t* out, Sum a) { _mm512_storeu_si512(out, a); }
  static Sum widen(const std::int16_t* x) {
    return _mm512_cvtepi16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(x)));
  }
  static void narrow(std::int16_t* out, Sum a) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm512_cvtepi32_epi16(a));
  }
  static Sum set(std::int32_t x) { return _mm512_set1_epi32(x); }
  static Sum add(Sum a, Sum b) { return _mm512_add_epi32(a, b); }
  static Sum mul(Sum a, Sum b) { return _mm512_mullo_epi32(a, b); }
  static Sum min(Sum a, Sum b) { return _mm512_min_epi32(a, b); }
  static Sum max(Sum a, Sum b) { return _mm512_max_epi32(a, b); }
  static Sum shift(Sum a, int count) { return _mm512_sra_epi32(a, _mm_cvtsi32_si128(count)); }
  static Weights weights(const std::int16_t* w) { return _mm512_loadu_si512(w); }
  static Pair pair(const std::int16_t* x) {
    std::int32_t both;
    std::memcpy(&both, x, sizeof both);
    return _mm512_set1_epi32(both);
  }
  static Sum dot(Sum sum, Weights w, Pair x) { return _mm512_dpwssd_epi32(sum, w, x); }

  static Sum scale(Sum a, Sum m, const Shift& s) {
    const Sum even = shifted(_mm512_mul_epi32(a, m), s);
    const Sum odd = shifted(_mm512_mul_epi32(_mm512_srli_epi64(a, 32), _mm512_srli_epi64(m, 32)), s);
    return _mm512_mask_blend_epi32(0xaaaa, even, _mm512_slli_epi64(odd, 32));
  }

 private:
  static __m512i shifted(__m512i product, const Shift& s) {
    const __m512i y = _mm512_sra_epi64(_mm512_add_epi64(product, s.half), s.bits);
    if (s.fits) return y;
    return _mm512_min_epi64(_mm512_max_epi64(y, _mm512_set1_epi64(INT32_MIN)), _mm512_set1_epi64(INT32_MAX));
  }
};

}  // namespace

const Kernel kAvx512 = Loops<Avx512>::kernel("avx512");

}  // namespace aecodec

#if defined(__clang__)
#pragma clang attribute pop
#endif

#endif
