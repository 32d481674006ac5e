// SPDX-License-Identifier: Apache-2.0
// Transparency: one value, or lossless WebP files (docs/format.md, section 1.4).

#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "container.hpp"

namespace aecodec {

class Alpha {
 public:
  // Checks what is known without decoding. Throws Error for a payload that does not fit its picture.
  Alpha(const Container& container, const Box& area);

  // Whether this library can decode it.
  bool decodable() const;

  // Boxes of the tiles that share pixels with the area.
  const std::vector<Box>& tiles() const { return boxes_; }

  // Writes what tile i has of the area, each value the mean of factor x factor: those of the area's first row begin at
  // `first`, `step` apart, those of the next row `stride` further. Tiles may be written in any order and at the same time.
  void write(std::size_t i, int factor, std::uint8_t* first, std::size_t step, std::size_t stride) const;

 private:
  Box area_;
  std::vector<Box> boxes_;
  std::vector<Bytes> data_;  // of each box
  std::uint8_t constant_ = 255;
};

}  // namespace aecodec
