// SPDX-License-Identifier: Apache-2.0
// The definition, for every machine.

#include <cstdint>

#include "loops.hpp"

// GCC makes vectors of a loop that is left as one.
#if defined(__GNUC__) && !defined(__clang__)
#define AECODEC_LOOP _Pragma("GCC unroll 1")
#else
#define AECODEC_LOOP
#endif

namespace aecodec {

namespace {

struct Plain {
  static constexpr std::size_t kLanes = 16, kVectors = 2, kPositions = 2;
  static constexpr bool kPaired = false;

  struct Sum {
    std::int32_t v[kLanes];
  };
  using Weights = const std::int16_t*;
  struct Pair {
    std::int16_t first, second;
  };
  struct Shift {
    explicit Shift(int count_) : count(count_), half(std::int64_t{1} << (count_ - 1)) {}
    int count;
    std::int64_t half;
  };

  template <typename F>
  static Sum each(F f) {
    Sum sum;
    AECODEC_LOOP
    for (std::size_t i = 0; i < kLanes; ++i) sum.v[i] = f(i);
    return sum;
  }

  static Sum load(const std::int32_t* x) { return each([&](std::size_t i) { return x[i]; }); }
  static Sum widen(const std::int16_t* x) { return each([&](std::size_t i) { return std::int32_t{x[i]}; }); }
  static Sum set(std::int32_t x) { return each([&](std::size_t) { return x; }); }
  static void store(std::int32_t* out, const Sum& a) {
    AECODEC_LOOP
    for (std::size_t i = 0; i < kLanes; ++i) out[i] = a.v[i];
  }
  static void narrow(std::int16_t* out, const Sum& a) {
    AECODEC_LOOP
    for (std::size_t i = 0; i < kLanes; ++i) out[i] = static_cast<std::int16_t>(a.v[i]);
  }
  static Sum add(const Sum& a, const Sum& b) { return each([&](std::size_t i) { return a.v[i] + b.v[i]; }); }
  static Sum mul(const Sum& a, const Sum& b) { return each([&](std::size_t i) { return a.v[i] * b.v[i]; }); }
  static Sum min(const Sum& a, const Sum& b) { return each([&](std::size_t i) { return a.v[i] < b.v[i] ? a.v[i] : b.v[i]; }); }
  static Sum max(const Sum& a, const Sum& b) { return each([&](std::size_t i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; }); }
  static Sum shift(const Sum& a, int count) { return each([&](std::size_t i) { return a.v[i] >> count; }); }
  static Weights weights(const std::int16_t* w) { return w; }
  static Pair pair(const std::int16_t* x) { return {x[0], x[1]}; }
  static Sum dot(Sum sum, Weights w, Pair x) {
    AECODEC_LOOP
    for (std::size_t i = 0; i < kLanes; ++i) sum.v[i] += std::int32_t{w[i]} * x.first;
    AECODEC_LOOP
    for (std::size_t i = 0; i < kLanes; ++i) sum.v[i] += std::int32_t{w[kLanes + i]} * x.second;
    return sum;
  }
  static Sum scale(const Sum& a, const Sum& m, const Shift& s) {
    return each([&](std::size_t i) {
      const std::int64_t product = (std::int64_t{a.v[i]} * m.v[i] + s.half) >> s.count;
      return static_cast<std::int32_t>(product < INT32_MIN ? INT32_MIN : product > INT32_MAX ? INT32_MAX : product);
    });
  }
};

}  // namespace

const Kernel kPlain = Loops<Plain>::kernel("plain");

}  // namespace aecodec
