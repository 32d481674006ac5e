// SPDX-License-Identifier: Apache-2.0

#include "kernel.hpp"

#if defined(__wasm_simd128__)

#include <wasm_simd128.h>

#include "loops.hpp"

namespace aecodec {

namespace {

struct Wasm {
  static constexpr std::size_t kLanes = 4, kVectors = 2, kPositions = 4;
  static constexpr Packing kPacking = Packing::kPaired;
  using Sum = v128_t;
  using Weights = v128_t;
  using Pair = v128_t;

  // From a shift of 32 on the result fits in 32 bits, because products are below 2^62.
  struct Shift {
    explicit Shift(int count_) : half(wasm_i64x2_splat(1ll << (count_ - 1))), count(count_), fits(count_ >= 32) {}
    v128_t half;
    int count;
    bool fits;
  };

  static Sum load(const std::int32_t* x) { return wasm_v128_load(x); }
  static void store(std::int32_t* out, Sum a) { wasm_v128_store(out, a); }
  static Sum widen(const std::int16_t* x) { return wasm_i32x4_load16x4(x); }
  static void narrow(std::int16_t* out, Sum a) { wasm_v128_store64_lane(out, wasm_i16x8_narrow_i32x4(a, a), 0); }
  static Sum set(std::int32_t x) { return wasm_i32x4_splat(x); }
  static Sum add(Sum a, Sum b) { return wasm_i32x4_add(a, b); }
  static Sum mul(Sum a, Sum b) { return wasm_i32x4_mul(a, b); }
  static Sum min(Sum a, Sum b) { return wasm_i32x4_min(a, b); }
  static Sum max(Sum a, Sum b) { return wasm_i32x4_max(a, b); }
  static Sum shift(Sum a, int count) { return wasm_i32x4_shr(a, static_cast<std::uint32_t>(count)); }
  static Weights weights(const std::int16_t* w) { return wasm_v128_load(w); }
  static Pair pair(const std::int16_t* x) { return wasm_v128_load32_splat(x); }
  static Sum dot(Sum sum, Weights w, Pair x) { return wasm_i32x4_add(sum, wasm_i32x4_dot_i16x8(w, x)); }
  static Sum scale(Sum a, Sum m, const Shift& s) {
    const v128_t low = wasm_i64x2_add(wasm_i64x2_extmul_low_i32x4(a, m), s.half);
    const v128_t high = wasm_i64x2_add(wasm_i64x2_extmul_high_i32x4(a, m), s.half);
    if (s.fits)  // of 64 bits the upper half: few machines shift 64 bits with their sign
      return wasm_i32x4_shr(wasm_i32x4_shuffle(low, high, 1, 3, 5, 7), static_cast<std::uint32_t>(s.count - 32));
    return wasm_i32x4_shuffle(capped(low, s), capped(high, s), 0, 2, 4, 6);
  }

 private:
  static v128_t capped(v128_t sum, const Shift& s) {
    const v128_t y = wasm_i64x2_shr(sum, static_cast<std::uint32_t>(s.count));
    const v128_t low = wasm_i64x2_splat(INT32_MIN), high = wasm_i64x2_splat(INT32_MAX);
    const v128_t below = wasm_v128_bitselect(high, y, wasm_i64x2_gt(y, high));
    return wasm_v128_bitselect(low, below, wasm_i64x2_lt(below, low));
  }
};

}  // namespace

const Kernel kWasm = Loops<Wasm>::kernel("wasm");

}  // namespace aecodec

#endif
