// SPDX-License-Identifier: Apache-2.0
//
// A receiver without networks: pixels show which symbols it was given, so that windows, regions and reductions can be
// checked. test_decoding.py paints the same.

#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "box.hpp"

// Red is y of channel 1 and z of channel 0 there; green and blue are y of channel 0 at the two far corners of what a pixel may
// depend on: 128 pixels around its cell of 64. Outside the padded picture they are 0.
inline void paint(const std::int8_t* z, const std::int16_t* y, const aecodec::Box& window, aecodec::Size padded,
                  const aecodec::Box& area, int factor, std::uint8_t* pixels, std::size_t row_bytes) {
  constexpr std::int32_t kReach = 128;
  const aecodec::Box whole{0, 0, padded.width, padded.height}, needed = area.aligned(aecodec::kStride).grown(kReach, whole);
  if (!(needed.intersection(window) == needed) || area.empty()) std::abort();
  const auto at = [&](const auto* symbols, std::size_t channel, std::int32_t stride, std::int32_t left, std::int32_t top) {
    if (left < 0 || top < 0 || left >= padded.width || top >= padded.height) return 0;
    const auto columns = static_cast<std::size_t>(window.width() / stride), rows = static_cast<std::size_t>(window.height() / stride);
    const auto i = static_cast<std::size_t>((top - window.top) / stride), j = static_cast<std::size_t>((left - window.left) / stride);
    return int{symbols[(channel * rows + i) * columns + j]};
  };
  const aecodec::Box frame = area.reduced(factor);
  for (std::int32_t row = frame.top; row < frame.bottom; ++row) {
    std::uint8_t* out = pixels + static_cast<std::size_t>(row - frame.top) * row_bytes;
    for (std::int32_t column = frame.left; column < frame.right; ++column) {
      const std::int32_t left = column * factor, top = row * factor, cell_left = left / 64 * 64, cell_top = top / 64 * 64;
      *out++ = static_cast<std::uint8_t>(16 * at(y, 1, 16, left, top) + at(z, 0, 64, left, top) + column % 16);
      *out++ = static_cast<std::uint8_t>(at(y, 0, 16, cell_left - kReach, cell_top - kReach));
      *out++ = static_cast<std::uint8_t>(at(y, 0, 16, cell_left + 63 + kReach, cell_top + 63 + kReach));
    }
  }
}
