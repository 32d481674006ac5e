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
template <typename Sum>
void table_index(const Sum* sums, const std::int32_t* multiplier, const std::int64_t* bias, int shift,
                        std::size_t channels, std::size_t height, std::size_t width, std::uint8_t* index) {
  const std::int64_t half = std::int64_t{1} << (shift - 1);
  for (std::size_t line = 0; line < channels * height * kSide; ++line) {  // lines of index, in order
    const std::size_t channel = line / (height * kSide), i = line / kSide % height, row = line % kSide;
    const std::size_t first = (channel * kSide + row) * kSide;  // of the kSide rows of sums that interleave in it
    std::uint8_t* out = index + line * kSide * width;
    for (std::size_t j = 0; j < width; ++j) {
      for (std::size_t column = 0; column < kSide; ++column) {
        const std::size_t o = first + column;
        const auto sum = static_cast<std::int64_t>(sums[(o * height + i) * width + j]);
        const std::int64_t numerator = sum * multiplier[o] + bias[o] + half;
        *out++ = static_cast<std::uint8_t>(std::clamp<std::int64_t>(numerator >> shift, 0, kLastScale));
      }
    }
  }
}

}  // namespace aecodec
