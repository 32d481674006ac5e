// SPDX-License-Identifier: Apache-2.0
// Lossless WebP (RFC 9649) of tiles, by libwebp or vp8l.hpp.

#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "container.hpp"

namespace aecodec {

// Whether this library can decode any.
bool has_webp();

// Checks that a file is lossless and of the size of a box, before anything is allocated for it. `name` is what the
// file holds, for the text of the Error.
void check_webp(Bytes file, const Box& box, const std::string& name);

// Pixels RGBA, row by row; alpha is 255 where the file does not say that it has any. REQUIRES: check_webp(). Throws Error.
std::vector<std::uint8_t> decode_webp(Bytes file, const Box& box, const std::string& name);

}  // namespace aecodec
