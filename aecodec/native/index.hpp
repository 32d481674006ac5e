// SPDX-License-Identifier: Apache-2.0
// The table index of docs/format.md, section 3: 64-bit integers, so that every machine agrees.

#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace aecodec {

constexpr std::size_t kSide = 4;  // a z position has kSide x kSide positions of y
constexpr std::int64_t kLastScale = 63;

// sums [channels * 16, height * width] are whole numbers below 2^24 in magnitude; index is [channels, 4 * height, 4 * width].
// REQUIRES: 0 < shift < 32.
inline void table_index(const float* sums, const std::int32_t* multiplier, const std::int64_t* bias, int shift,
                        std::size_t channels, std::size_t height, std::size_t width, std::uint8_t* index) {
  const std::int64_t half = std::int64_t{1} << (shift - 1);
  for (std::size_t o = 0; o < channels * kSide * kSide; ++o) {
    const std::size_t channel = o / (kSide * kSide), row = o % (kSide * kSide) / kSide, column = o % kSide;
    for (std::size_t i = 0; i < height; ++i) {
      const float* sum = sums + (o * height + i) * width;
      std::uint8_t* out = index + ((channel * height + i) * kSide + row) * kSide * width + column;
      for (std::size_t j = 0; j < width; ++j) {
        const std::int64_t numerator = static_cast<std::int64_t>(sum[j]) * multiplier[o] + bias[o] + half;
        out[kSide * j] = static_cast<std::uint8_t>(std::clamp<std::int64_t>(numerator >> shift, 0, kLastScale));
      }
    }
  }
}

}  // namespace aecodec
