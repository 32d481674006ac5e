// SPDX-License-Identifier: Apache-2.0
// A file, taken apart, to pixels: strip by strip, so that memory does not grow with the height of a picture.

#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

#include "alpha.hpp"
#include "container.hpp"
#include "tile.hpp"

namespace aecodec {

// What of the padded picture a decoder has to know to show an area.
Box needed_around(const Box& area, const Header& header);

struct Target {
  Box area;           // of the picture
  int factor = 1;     // 1, 2, 4 or 8: each pixel is the mean of factor x factor
  int channels = 3;   // 1 gray, 2 gray and alpha, 3 RGB, 4 RGBA
  std::uint8_t* pixels = nullptr;
  std::size_t stride = 0;  // bytes
};

// Symbols z [N, height / 64, width / 64] and y [M, height / 16, width / 16] of a window of the padded picture.
struct WindowView {
  const std::int8_t* z;
  const std::int16_t* y;
  Box box;
};

// Writes pixels RGB of area.reduced(factor), rows `row_bytes` apart. The window holds needed_around(area).
using Render = std::function<void(const WindowView& window, const Box& area, std::uint8_t* rgb, std::size_t row_bytes)>;

// What is held or done at once, in pixels; at least 512 rows, since halos cost time.
struct Limits {
  std::int32_t window = 1 << 24;    // of the padded picture whose symbols are held: 3 bytes each for the largest model
  std::int32_t progress = 1 << 22;  // rendered or painted between two calls of progress
  std::int32_t drawn = 1 << 25;     // of tiles whose drawn pixels are painted at once: 8 bytes each
};

// Writes the target. `prior` and `render` are used, and may not be nothing, where a tile of the area has a stream. Throws Error;
// AECODEC_CANCELLED where progress, called with what is done (0..1), returns false.
void decode(const Container& container, const Prior* prior, const Alpha& alpha, const Render& render, const Target& target,
            int threads, const std::function<bool(double)>& progress, const Limits& limits = {});

}  // namespace aecodec
