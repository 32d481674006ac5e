// SPDX-License-Identifier: Apache-2.0
// The table index of docs/format.md, section 3: 64-bit integers, so that every machine agrees.

#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace aecodec {

constexpr std::size_t kSide = 4;  // a z position has kSide x kSide positions of y
constexpr std::int64_t kLastScale = 63;

// A sum of products. REQUIRES: |sum| < 2^31, whatever is left out.
inline std::int32_t dot(const std::int16_t* a, const std::int16_t* b, std::size_t count) {
  std::int32_t sum = 0;
  for (std::size_t i = 0; i < count; ++i) sum += a[i] * b[i];
  return sum;
}

// Sums [rows, places] of weight [rows, count] with x [places, count]. REQUIRES: as dot.
inline void products(const std::int16_t* weight, std::size_t rows, const std::int16_t* x, std::size_t places, std::size_t count,
                     std::int32_t* sums) {
  for (std::size_t row = 0; row < rows; ++row)
    for (std::size_t place = 0; place < places; ++place) *sums++ = dot(weight + row * count, x + place * count, count);
}

// sums [channels * 16, height * width] are whole numbers below 2^24 in magnitude; index is [channels, 4 * height, 4 * width].
// REQUIRES: 0 < shift < 32.
inline void table_index(const std::int32_t* sums, const std::int32_t* multiplier, const std::int64_t* bias, int shift,
                        std::size_t channels, std::size_t height, std::size_t width, std::uint8_t* index) {
  const std::int64_t half = std::int64_t{1} << (shift - 1);
  for (std::size_t line = 0; line < channels * height * kSide; ++line) {  // lines of index, in order
    const std::size_t channel = line / (height * kSide), i = line / kSide % height, row = line % kSide;
    const std::size_t first = (channel * kSide + row) * kSide;  // of the kSide rows of sums that interleave in it
    std::uint8_t* out = index + line * kSide * width;
    for (std::size_t j = 0; j < width; ++j) {
      for (std::size_t column = 0; column < kSide; ++column) {
        const std::size_t o = first + column;
        const std::int64_t sum = sums[(o * height + i) * width + j];
        const std::int64_t numerator = sum * multiplier[o] + bias[o] + half;
        *out++ = static_cast<std::uint8_t>(std::clamp<std::int64_t>(numerator >> shift, 0, kLastScale));
      }
    }
  }
}

}  // namespace aecodec
