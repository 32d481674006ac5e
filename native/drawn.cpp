// SPDX-License-Identifier: Apache-2.0

#include "drawn.hpp"

#include <algorithm>
#include <array>
#include <vector>

#include "error.hpp"
#include "webp.hpp"

namespace aecodec {
namespace {

constexpr std::size_t kChannels = 4;  // of a decoded WebP file
constexpr std::size_t kGreen = 1, kAlphaChannel = 3;

[[noreturn]] void fail(const char* text) { throw Error(AECODEC_BAD_FILE, text); }

std::vector<std::uint8_t> decode_tile(const Tile& tile, const Box& box) {
  std::vector<std::uint8_t> rgba = decode_webp(tile.drawn, box, "drawn part");
  for (std::size_t i = kAlphaChannel; i < rgba.size(); i += kChannels) {
    if (rgba[i] == 255) continue;
    if (rgba[i]) fail("drawn part has alpha other than 0 and 255");
    if (!tile.stream.size) fail("a tile without a stream has pixels that are not drawn");
  }
  return rgba;
}

}  // namespace

void draw(const Container& container, std::size_t i, const Target& target) {
  const Header& header = container.header;
  const Tile& tile = container.tiles[i];
  const Box box = header.tile_box(i).intersection(header.bounds());
  const std::vector<std::uint8_t> rgba = decode_tile(tile, box);
  std::array<std::uint8_t, 256> values{};
  for (int value = 0; value < 256; ++value)
    values[static_cast<std::size_t>(value)] = static_cast<std::uint8_t>(std::min(255, tile.step * value));

  const int factor = target.factor;
  const std::uint32_t count = static_cast<std::uint32_t>(factor * factor);  // 4 ^ k
  int shift = 0;
  while (1u << shift < count) ++shift;
  const auto channels = static_cast<std::size_t>(target.channels), colors = std::size_t{target.channels < 3 ? 1u : 3u};
  const Box frame = target.area.reduced(factor), shown = box.reduced(factor).intersection(frame);
  const auto row_size = kChannels * static_cast<std::size_t>(box.width());
  // Behind the picture its last row and column are repeated: a mean is of factor x factor.
  const auto row_of = [&](std::int32_t y) { return static_cast<std::size_t>(std::min(y, box.bottom - 1) - box.top) * row_size; };
  const auto column_of = [&](std::int32_t x) {
    return static_cast<std::size_t>(std::min(x, box.right - 1) - box.left) * kChannels;
  };
  for (std::int32_t y = shown.top; y < shown.bottom; ++y) {
    std::uint8_t* out = target.pixels + static_cast<std::size_t>(y - frame.top) * target.stride +
                        static_cast<std::size_t>(shown.left - frame.left) * channels;
    for (std::int32_t x = shown.left; x < shown.right; ++x, out += channels) {
      std::uint32_t drawn = 0, sums[3] = {};
      for (int a = 0; a < factor; ++a)
        for (int b = 0; b < factor; ++b) {
          const std::uint8_t* pixel = rgba.data() + row_of(factor * y + a) + column_of(factor * x + b);
          if (!pixel[kAlphaChannel]) continue;
          ++drawn;
          for (std::size_t c = 0; c < 3; ++c) sums[c] += values[pixel[c]];
        }
      if (!drawn) continue;
      for (std::size_t c = 0; c < colors; ++c) {
        const std::uint32_t rest = drawn < count ? (count - drawn) * out[c] : 0;  // where all are drawn nothing was rendered
        out[c] = static_cast<std::uint8_t>((sums[header.gray ? kGreen : c] + rest + count / 2) >> shift);
      }
    }
  }
}

}  // namespace aecodec
