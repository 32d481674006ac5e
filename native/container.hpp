// SPDX-License-Identifier: Apache-2.0
//
// The .aec file: header, sections of metadata and alpha, tile sections (docs/format.md, section 1). Bytes only.
//
// Everything read here is hostile until it is checked: magic, version, checksum, ranges and lengths come before any
// allocation that depends on them.

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "box.hpp"

namespace aecodec {

constexpr std::uint8_t kFormatVersion = 2;
constexpr std::int32_t kMaxPictureSide = 65535;  // pixels; the fields are u16
constexpr int kMaxTile = 64;                      // side of a tile in kStride pixels
constexpr std::uint64_t kMaxPixels = std::uint64_t{1} << 28;  // default cap
constexpr std::size_t kHeaderSize = 21;                       // and one more with constant alpha

struct Bytes {
  const std::uint8_t* data = nullptr;
  std::size_t size = 0;
};

enum SectionKind : std::uint8_t {
  kTile = 0x01,
  kAlpha = 0x02,
  kDrawn = 0x03,  // a tile with drawn pixels
  kIcc = 0x81,
  kExif = 0x82,
  kXmp = 0x83,
  kDensity = 0x84,
  kDigest = 0x85,
};

struct Header {
  std::int32_t width = 0;      // pixels, 1..65535
  std::int32_t height = 0;     // pixels, 1..65535
  int level = 0;               // quality in hundredths, 100..10000, or 0: lossless, or with a bound of the loss
  std::uint32_t model_id = 0;  // first 4 bytes of the SHA-256 of the weights, little-endian, or 0: none are needed
  std::int32_t tile = 0;       // side of a tile in kStride pixels, 1..64
  bool gray = false;
  bool alpha = false;
  int constant_alpha = -1;  // 0..255, -1 where alpha is not one value

  Box bounds() const { return {0, 0, width, height}; }
  Box padded() const { return bounds().aligned(kStride); }
  std::int32_t tile_side() const { return tile * kStride; }
  std::int32_t tile_columns() const { return (width + tile_side() - 1) / tile_side(); }
  std::int32_t tile_rows() const { return (height + tile_side() - 1) / tile_side(); }
  std::size_t tile_count() const {
    return static_cast<std::size_t>(tile_columns()) * static_cast<std::size_t>(tile_rows());
  }

  // Tile i of the padded picture in the order of the file: rows from the top, each from the left.
  Box tile_box(std::size_t i) const;
};

// What a file holds of a tile.
struct Tile {
  Bytes stream;  // of its symbols; may be nothing where pixels are drawn
  Bytes drawn;   // WebP file of pixels, nothing without any
  int step = 1;  // of their values

  bool coded() const { return stream.size || !drawn.size; }  // whether networks make some of its pixels
};

// A file taken apart. It points into the bytes of the file.
struct Container {
  Header header;
  Bytes alpha;              // payload of the alpha section, nothing without one
  std::vector<Tile> tiles;  // in the order of the file; with nothing in it where it was not asked for
};

// The header of a file, of which the first kHeaderSize + 1 bytes are enough. Throws Error.
Header read_header(Bytes file, std::uint64_t max_pixels);

// Take a file apart and check everything but the streams, what is in the alpha of tiles and what is behind the front of their
// drawn pixels. Tiles that share nothing with `area` are neither read nor checked. Throws Error.
Container unpack(Bytes file, const Header& header, const Box& area);

// The payload of a section before the tiles, nothing where there is none. Throws Error.
Bytes find_section(Bytes file, SectionKind kind);

// The file of some streams, in the order of its tiles, without other sections or alpha.
std::vector<std::uint8_t> pack(const Header& header, const std::vector<std::vector<std::uint8_t>>& streams);

std::uint32_t read_u32(const std::uint8_t* bytes);

}  // namespace aecodec
