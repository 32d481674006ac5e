// SPDX-License-Identifier: Apache-2.0

#pragma once

#include <algorithm>
#include <cstdint>

namespace aecodec {

constexpr std::int32_t kStride = 64;   // pixels per position of z; tiles are multiples of it
constexpr std::int32_t kYStride = 16;  // pixels per position of y

struct Size {
  std::int32_t width = 0;
  std::int32_t height = 0;
};

// Rectangle in pixels: left and top inside, right and bottom just outside. Never negative, so that / rounds down.
struct Box {
  std::int32_t left = 0;
  std::int32_t top = 0;
  std::int32_t right = 0;
  std::int32_t bottom = 0;

  std::int32_t width() const { return right - left; }
  std::int32_t height() const { return bottom - top; }
  bool empty() const { return left >= right || top >= bottom; }
  bool operator==(const Box& other) const {
    return left == other.left && top == other.top && right == other.right && bottom == other.bottom;
  }

  // This box with a halo, cut to bounds.
  Box grown(std::int32_t halo, const Box& bounds) const {
    return {std::max(left - halo, bounds.left), std::max(top - halo, bounds.top),
            std::min(right + halo, bounds.right), std::min(bottom + halo, bounds.bottom)};
  }

  // What two boxes share; empty where that is nothing.
  Box intersection(const Box& other) const { return grown(0, other); }

  // The smallest box that holds both.
  Box united(const Box& other) const {
    return {std::min(left, other.left), std::min(top, other.top), std::max(right, other.right), std::max(bottom, other.bottom)};
  }

  // This box in a picture whose pixels each stand for factor x factor of them.
  Box reduced(std::int32_t factor) const {
    return {left / factor, top / factor, (right + factor - 1) / factor, (bottom + factor - 1) / factor};
  }

  // The smallest box of whole cells of stride x stride pixels that holds this one.
  Box aligned(std::int32_t stride) const {
    const Box cells = reduced(stride);
    return {cells.left * stride, cells.top * stride, cells.right * stride, cells.bottom * stride};
  }
};

}  // namespace aecodec
