// SPDX-License-Identifier: Apache-2.0

#include "kernel.hpp"

#if defined(AECODEC_X86)

#include <immintrin.h>

#include <cstring>

// For all that follows, and for nothing that is shared with other files.
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#elif defined(__GNUC__)
#pragma GCC target("avx2")
#endif

#include "loops.hpp"

namespace aecodec {

namespace {

struct Avx2 {
  static constexpr std::size_t kLanes = 8, kVectors = 2, kPositions = 6;
  static constexpr Packing kPacking = Packing::kPaired;
  using Sum = __m256i;
  using Weights = __m256i;
  using Pair = __m256i;

  // There is no arithmetic shift of 64 bits: 2^63 makes all numbers positive, and goes again as 2^(63 - count). From a
  // shift of 32 on the result fits in 32 bits, because products are below 2^62.
  struct Shift {
    explicit Shift(int count)
        : bits(_mm_cvtsi32_si128(count)),
          bias(_mm256_set1_epi64x(static_cast<long long>((1ull << 63) + (1ull << (count - 1))))),
          back(_mm256_set1_epi64x(static_cast<long long>(1ull << (63 - count)))),
          fits(count >= 32) {}
    __m128i bits;
    __m256i bias, back;
    bool fits;
  };

  static Sum load(const std::int32_t* x) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x)); }
  static void store(std::int32_t* out, Sum a) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), a); }
  static Sum widen(const std::int16_t* x) {
    return _mm256_cvtepi16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(x)));
  }
  static void narrow(std::int16_t* out, Sum a) {
    const __m128i packed = _mm_packs_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), packed);
  }
  static Sum set(std::int32_t x) { return _mm256_set1_epi32(x); }
  static Sum add(Sum a, Sum b) { return _mm256_add_epi32(a, b); }
  static Sum mul(Sum a, Sum b) { return _mm256_mullo_epi32(a, b); }
  static Sum min(Sum a, Sum b) { return _mm256_min_epi32(a, b); }
  static Sum max(Sum a, Sum b) { return _mm256_max_epi32(a, b); }
  static Sum shift(Sum a, int count) { return _mm256_sra_epi32(a, _mm_cvtsi32_si128(count)); }
  static Weights weights(const std::int16_t* w) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w)); }
  static Pair pair(const std::int16_t* x) {
    std::int32_t both;
    std::memcpy(&both, x, sizeof both);
    return _mm256_set1_epi32(both);
  }
  static Sum dot(Sum sum, Weights w, Pair x) { return _mm256_add_epi32(sum, _mm256_madd_epi16(w, x)); }

  static Sum scale(Sum a, Sum m, const Shift& s) {
    const Sum even = shifted(_mm256_mul_epi32(a, m), s);
    const Sum odd = shifted(_mm256_mul_epi32(_mm256_srli_epi64(a, 32), _mm256_srli_epi64(m, 32)), s);
    return _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xaa);
  }

 private:
  static __m256i shifted(__m256i product, const Shift& s) {
    const __m256i y = _mm256_sub_epi64(_mm256_srl_epi64(_mm256_add_epi64(product, s.bias), s.bits), s.back);
    if (s.fits) return y;
    const __m256i low = _mm256_set1_epi64x(INT32_MIN), high = _mm256_set1_epi64x(INT32_MAX);
    const __m256i capped = _mm256_blendv_epi8(y, high, _mm256_cmpgt_epi64(y, high));
    return _mm256_blendv_epi8(capped, low, _mm256_cmpgt_epi64(low, capped));
  }
};

}  // namespace

const Kernel kAvx2 = Loops<Avx2>::kernel("avx2");

}  // namespace aecodec

#if defined(__clang__)
#pragma clang attribute pop
#endif

#endif
