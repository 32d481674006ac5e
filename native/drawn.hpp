// SPDX-License-Identifier: Apache-2.0
// Pixels that stand in a tile itself (docs/format.md, section 1.6).

#pragma once

#include <cstddef>

#include "container.hpp"
#include "decoding.hpp"

namespace aecodec {

// Paints the drawn pixels of tile i over what of it is in the target, but for alpha. Tiles may be painted in any order and at
// the same time. REQUIRES: a tile that has some, and has_webp(). Throws Error.
void draw(const Container& container, std::size_t i, const Target& target);

}  // namespace aecodec
