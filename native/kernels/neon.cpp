// SPDX-License-Identifier: Apache-2.0

#include "kernel.hpp"

#if defined(__ARM_NEON)

#include <arm_neon.h>

#include "loops.hpp"

namespace aecodec {

namespace {

struct Neon {
  static constexpr std::size_t kLanes = 4, kVectors = 3, kPositions = 8;
  static constexpr Packing kPacking = Packing::kSplit;
  using Sum = int32x4_t;
  using Weights = int16x8_t;  // of the first input of a pair, of the second
  using Pair = int16x4_t;

  struct Shift {
    explicit Shift(int count) : left(vdupq_n_s64(-count)) {}
    int64x2_t left;
  };

  static Sum load(const std::int32_t* x) { return vld1q_s32(x); }
  static void store(std::int32_t* out, Sum a) { vst1q_s32(out, a); }
  static Sum widen(const std::int16_t* x) { return vmovl_s16(vld1_s16(x)); }
  static void narrow(std::int16_t* out, Sum a) { vst1_s16(out, vmovn_s32(a)); }
  static Sum set(std::int32_t x) { return vdupq_n_s32(x); }
  static Sum add(Sum a, Sum b) { return vaddq_s32(a, b); }
  static Sum mul(Sum a, Sum b) { return vmulq_s32(a, b); }
  static Sum min(Sum a, Sum b) { return vminq_s32(a, b); }
  static Sum max(Sum a, Sum b) { return vmaxq_s32(a, b); }
  static Sum shift(Sum a, int count) { return vshlq_s32(a, vdupq_n_s32(-count)); }
  static Weights weights(const std::int16_t* w) { return vld1q_s16(w); }
  static Pair pair(const std::int16_t* x) { return vset_lane_s16(x[1], vdup_n_s16(x[0]), 1); }
  static Sum dot(Sum sum, Weights w, Pair x) {
    return vmlal_lane_s16(vmlal_lane_s16(sum, vget_low_s16(w), x, 0), vget_high_s16(w), x, 1);
  }
  static Sum scale(Sum a, Sum m, const Shift& s) {  // vrshl adds the half, vqmovn cuts
    const int64x2_t low = vrshlq_s64(vmull_s32(vget_low_s32(a), vget_low_s32(m)), s.left);
    const int64x2_t high = vrshlq_s64(vmull_s32(vget_high_s32(a), vget_high_s32(m)), s.left);
    return vcombine_s32(vqmovn_s64(low), vqmovn_s64(high));
  }
};

}  // namespace

const Kernel kNeon = Loops<Neon>::kernel("neon");

}  // namespace aecodec

#endif
