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
  static constexpr std::size_t kLanes = 8, kVectors = 2, kPositions = 2;
  static constexpr Packing kPacking = Packing::kRows;

  struct Sum {
    std::int32_t v[kLanes];
  };
  struct Shift {
    explicit Shift(int count_)
        : count(count_),
          half(std::int64_t{1} << (count_ - 1)),
          bias((std::uint64_t{1} << 63) + (std::uint64_t{1} << (count_ - 1))),
          back(std::uint64_t{1} << (63 - count_)) {}
    int count;
    std::int64_t half;
    std::uint64_t bias, back;  // 2^63 makes all numbers positive, and goes again as 2^(63 - count)
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

  // Sums [2, count] of four outputs at a time. Compilers know what to do with a product of two rows: SSE2, which every x86-64 has,
  // adds pairs of products in one instruction, and eight sums leave it enough of its registers.
  static void dots(const std::int16_t* weight, const std::int32_t* bias, std::size_t depth, const std::int16_t* const rows[2],
                   std::size_t count, std::int32_t* sums) {
    const std::int16_t *x = rows[0], *y = rows[1];
    const std::size_t size = depth / kDepth * kDepth;  // says that nothing is left over
    for (std::size_t i = 0; i < count; i += 4, weight += 4 * depth) {
      const std::int16_t *a = weight, *b = a + depth, *c = b + depth, *d = c + depth;
      std::int32_t ax = 0, bx = 0, cx = 0, dx = 0, ay = 0, by = 0, cy = 0, dy = 0;
      for (std::size_t k = 0; k < size; ++k) {
        ax += a[k] * x[k];
        bx += b[k] * x[k];
        cx += c[k] * x[k];
        dx += d[k] * x[k];
        ay += a[k] * y[k];
        by += b[k] * y[k];
        cy += c[k] * y[k];
        dy += d[k] * y[k];
      }
      const std::int32_t first[4] = {ax, bx, cx, dx}, second[4] = {ay, by, cy, dy};
      for (std::size_t j = 0; j < 4; ++j) {
        sums[i + j] = bias[i + j] + first[j];
        sums[count + i + j] = bias[i + j] + second[j];
      }
    }
  }

  // Multipliers are not negative. From a shift of 32 on all fits in 32 bits, and products of 32 bits without a sign are enough:
  // that of a + 2^31 is 2^31 * m more.
  static Sum scale(const Sum& a, const Sum& m, const Shift& s) {
    if (s.count >= 32)
      return each([&](std::size_t i) {
        const std::uint64_t factor = static_cast<std::uint32_t>(m.v[i]);
        const std::uint64_t product = (static_cast<std::uint32_t>(a.v[i]) ^ 0x80000000u) * factor - (factor << 31);
        return static_cast<std::int32_t>(((product + s.bias) >> s.count) - s.back);
      });
    return each([&](std::size_t i) {
      const std::int64_t product = (std::int64_t{a.v[i]} * m.v[i] + s.half) >> s.count;
      return static_cast<std::int32_t>(product < INT32_MIN ? INT32_MIN : product > INT32_MAX ? INT32_MAX : product);
    });
  }
};

}  // namespace

const Kernel kPlain = Loops<Plain>::kernel("plain");

}  // namespace aecodec
