// SPDX-License-Identifier: Apache-2.0
// Lossless WebP (RFC 9649) for those who have no libwebp: WebAssembly.

#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "container.hpp"

namespace aecodec {

// Pixels RGBA of a WebP file that holds VP8L of width x height pixels; nothing for what is not sound.
std::vector<std::uint8_t> decode_vp8l(Bytes file, std::size_t width, std::size_t height);

}  // namespace aecodec
