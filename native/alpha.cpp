// SPDX-License-Identifier: Apache-2.0

#include "alpha.hpp"

#include <algorithm>
#include <string>

#include "error.hpp"
#include "webp.hpp"

namespace aecodec {
namespace {

constexpr std::size_t kLengthSize = 4;
constexpr std::size_t kChannels = 4, kGreen = 1;  // of a decoded WebP file, whose green is alpha
const char* const kName = "alpha";

[[noreturn]] void fail(const std::string& text) { throw Error(AECODEC_BAD_FILE, text); }

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
    if (length > 1) check_webp(data, box, kName);
    boxes_.push_back(box);
    data_.push_back(data);
  }
  if (place != payload.size)
    fail("alpha of " + std::to_string(count) + " tiles fills " + std::to_string(place) + " bytes of " +
         std::to_string(payload.size));
}

bool Alpha::decodable() const {
  return has_webp() || std::all_of(data_.begin(), data_.end(), [](const Bytes& data) { return data.size <= 1; });
}

void Alpha::write(std::size_t i, int factor, std::uint8_t* first, std::size_t step, std::size_t stride) const {
  const Box& box = boxes_[i];
  const Bytes data = data_[i];
  const bool decoded = data.size > 1;
  const std::uint8_t value = data.size == 1 ? *data.data : constant_;
  const std::vector<std::uint8_t> values = decoded ? decode_webp(data, box, kName) : std::vector<std::uint8_t>();
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
