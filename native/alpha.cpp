// SPDX-License-Identifier: Apache-2.0

#include "alpha.hpp"

#include <algorithm>
#include <cstring>
#include <string>

#include "error.hpp"

#if defined(AECODEC_WEBP)
#include <webp/decode.h>
#elif defined(AECODEC_VP8L)
#include "vp8l.hpp"
#endif

namespace aecodec {
namespace {

constexpr std::size_t kLengthSize = 4;
constexpr std::size_t kChunk = 12, kSize = 21, kMinWebp = 25;  // of a WebP file: name of the chunk; sides, where that is VP8L

[[noreturn]] void fail(const std::string& text) { throw Error(AECODEC_BAD_FILE, text); }

void check_webp(Bytes data, const Box& box) {
  if (data.size < kChunk + 4 || std::memcmp(data.data + kChunk, "VP8L", 4) != 0) fail("alpha is not a lossless WebP file");
  if (data.size < kMinWebp) fail("alpha is no sound WebP file");
  const std::uint32_t claim = read_u32(data.data + kSize);  // 14 bits each of width - 1 and height - 1
  const auto width = static_cast<std::int32_t>(claim & 0x3FFF) + 1, height = static_cast<std::int32_t>(claim >> 14 & 0x3FFF) + 1;
  if (width != box.width() || height != box.height())
    fail("alpha is " + std::to_string(width) + "x" + std::to_string(height) + ", its tile " + std::to_string(box.width()) +
         "x" + std::to_string(box.height()));
}

#ifdef AECODEC_WEBP
constexpr std::size_t kChannels = 3, kGreen = 1;
#else
constexpr std::size_t kChannels = 1, kGreen = 0;
#endif

// kChannels of each pixel, kGreen is alpha.
std::vector<std::uint8_t> decode_webp([[maybe_unused]] Bytes data, [[maybe_unused]] const Box& box) {
#if defined(AECODEC_WEBP)
  const std::size_t stride = kChannels * static_cast<std::size_t>(box.width());
  std::vector<std::uint8_t> rgb(stride * static_cast<std::size_t>(box.height()));
  if (!WebPDecodeRGBInto(data.data, data.size, rgb.data(), rgb.size(), static_cast<int>(stride)))
    fail("alpha is no sound WebP file");
  return rgb;
#elif defined(AECODEC_VP8L)
  return decode_vp8l(data, static_cast<std::size_t>(box.width()), static_cast<std::size_t>(box.height()));
#else
  throw Error(AECODEC_UNSUPPORTED, "this library was built without libwebp, which alpha needs");
#endif
}

}  // namespace

Alpha::Alpha(const Container& container, const Box& area) : area_(area) {
  const Header& header = container.header;
  if (header.constant_alpha >= 0) constant_ = static_cast<std::uint8_t>(header.constant_alpha);
  if (!container.alpha.size) {  // one value
    boxes_.push_back(header.bounds());
    data_.push_back({});
    return;
  }
  const Bytes payload = container.alpha;
  const std::size_t count = header.tile_count();
  std::size_t place = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t left = payload.size - place;
    const std::size_t length = left < kLengthSize ? 0 : read_u32(payload.data + place);
    if (length < 1 || length > left - kLengthSize)
      fail("alpha of a tile is " + std::to_string(length) + " bytes of " +
           std::to_string(left < kLengthSize ? 0 : left - kLengthSize));
    const Bytes data{payload.data + place + kLengthSize, length};
    place += kLengthSize + length;
    const Box box = header.tile_box(i).intersection(header.bounds());
    if (box.intersection(area).empty()) continue;
    if (length > 1) check_webp(data, box);
    boxes_.push_back(box);
    data_.push_back(data);
  }
  if (place != payload.size)
    fail("alpha of " + std::to_string(count) + " tiles fills " + std::to_string(place) + " bytes of " +
         std::to_string(payload.size));
}

bool Alpha::decodable() const {
#if defined(AECODEC_WEBP) || defined(AECODEC_VP8L)
  return true;
#else
  return std::all_of(data_.begin(), data_.end(), [](const Bytes& data) { return data.size <= 1; });
#endif
}

void Alpha::write(std::size_t i, int factor, std::uint8_t* first, std::size_t step, std::size_t stride) const {
  const Box& box = boxes_[i];
  const Bytes data = data_[i];
  const bool decoded = data.size > 1;
  const std::uint8_t value = data.size == 1 ? *data.data : constant_;
  const std::vector<std::uint8_t> values = decoded ? decode_webp(data, box) : std::vector<std::uint8_t>();
  const Box frame = area_.reduced(factor), shown = box.reduced(factor).intersection(frame);
  // Behind the picture its last row and column are repeated: a mean is of factor x factor.
  const auto at = [&](std::int32_t x, std::int32_t y) {
    const std::int32_t j = std::min(x, box.right - 1) - box.left, row = std::min(y, box.bottom - 1) - box.top;
    return std::uint32_t{values[kChannels * (static_cast<std::size_t>(row) * static_cast<std::size_t>(box.width()) +
                                             static_cast<std::size_t>(j)) + kGreen]};
  };
  const auto count = static_cast<std::uint32_t>(factor * factor);
  for (std::int32_t y = shown.top; y < shown.bottom; ++y) {
    std::uint8_t* out = first + static_cast<std::size_t>(y - frame.top) * stride +
                        static_cast<std::size_t>(shown.left - frame.left) * step;
    for (std::int32_t x = shown.left; x < shown.right; ++x, out += step) {
      std::uint32_t sum = decoded ? 0 : count * value;
      if (decoded)
        for (int a = 0; a < factor; ++a)
          for (int b = 0; b < factor; ++b) sum += at(factor * x + b, factor * y + a);
      *out = static_cast<std::uint8_t>((sum + count / 2) / count);
    }
  }
}

}  // namespace aecodec
