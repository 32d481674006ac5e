// SPDX-License-Identifier: Apache-2.0
// Stands in for native/receiver.hpp.

#pragma once

#include "../paint.hpp"
#include "array.hpp"

namespace aecodec {

struct SymbolWindow {
  const std::int8_t* z;
  const std::int16_t* y;
  Box window;
  Size padded;
};

class Receiver {
 public:
  Receiver(const Arrays&, std::size_t, std::size_t) {}
  void render(const SymbolWindow& symbols, int, const Box& area, int factor, int, std::uint8_t* out, std::size_t row_bytes) const {
    paint(symbols.z, symbols.y, symbols.window, symbols.padded, area, factor, out, row_bytes);
  }
};

}  // namespace aecodec
