// SPDX-License-Identifier: Apache-2.0

#include "vp8l.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <numeric>

namespace aecodec {
namespace {

using Argb = std::uint32_t;
using Image = std::vector<Argb>;

constexpr std::size_t kFront = 20;  // bytes of the file before the stream, the last four its length
constexpr std::size_t kLiterals = 256, kLengths = 24, kDistances = 40;
constexpr std::size_t kMaxLength = 15;  // bits of a prefix code
constexpr std::size_t kLengthCodes = 19;
constexpr std::size_t kNearby = 120;  // distances that stand for pixels above and to the left
constexpr Argb kBlack = 0xFF000000;
constexpr int kShifts[] = {0, 8, 16, 24};

struct Unsound {};

[[noreturn]] void fail() { throw Unsound(); }

std::size_t divided(std::size_t size, std::size_t bits) { return (size + (std::size_t{1} << bits) - 1) >> bits; }

int channel(Argb pixel, int shift) { return static_cast<int>(pixel >> shift & 255); }

template <typename F>
Argb each(F f) {
  Argb pixel = 0;
  for (const int shift : kShifts) pixel |= static_cast<Argb>(f(shift) & 255) << shift;
  return pixel;
}

Argb sum(Argb a, Argb b) {
  constexpr Argb kEven = 0x00FF00FF;
  return (((a & kEven) + (b & kEven)) & kEven) | (((a >> 8 & kEven) + (b >> 8 & kEven)) & kEven) << 8;
}

class Bits {
 public:
  Bits(const std::uint8_t* data, std::size_t size) : next_(data), end_(data + size) {}

  std::uint32_t read(std::size_t count) {  // at most 24
    while (held_ < count) {
      if (next_ == end_) fail();
      bits_ |= static_cast<std::uint32_t>(*next_++) << held_;
      held_ += 8;
    }
    const std::uint32_t value = bits_ & ((1u << count) - 1);
    bits_ >>= count;
    held_ -= count;
    return value;
  }

 private:
  const std::uint8_t* next_;
  const std::uint8_t* end_;
  std::uint32_t bits_ = 0;
  std::size_t held_ = 0;
};

// A canonical prefix code; that of one symbol takes no bits.
class Code {
 public:
  Code() = default;

  explicit Code(const std::vector<std::uint8_t>& lengths) {
    for (const std::uint8_t length : lengths) ++counts_[length];
    counts_[0] = 0;
    std::array<std::size_t, kMaxLength + 2> places{};
    int left = 1;
    for (std::size_t length = 1; length <= kMaxLength; ++length) {
      left = 2 * left - counts_[length];
      if (left < 0) fail();
      places[length + 1] = places[length] + counts_[length];
    }
    symbols_.resize(places[kMaxLength + 1]);
    if (symbols_.empty() || (left && symbols_.size() != 1)) fail();
    for (std::size_t symbol = 0; symbol < lengths.size(); ++symbol)
      if (lengths[symbol]) symbols_[places[lengths[symbol]]++] = static_cast<std::uint16_t>(symbol);
  }

  std::size_t read(Bits& bits) const {
    if (symbols_.size() == 1) return symbols_[0];
    int code = 0, first = 0, place = 0;
    for (std::size_t length = 1; length <= kMaxLength; ++length) {
      code |= static_cast<int>(bits.read(1));
      const int count = counts_[length];
      if (code < first + count) return symbols_[static_cast<std::size_t>(place + code - first)];
      place += count;
      first = 2 * (first + count);
      code *= 2;
    }
    fail();
  }

 private:
  std::array<std::uint16_t, kMaxLength + 1> counts_{};
  std::vector<std::uint16_t> symbols_;  // by length, then by number
};

Code read_code(Bits& bits, std::size_t alphabet) {
  std::vector<std::uint8_t> lengths(std::max(alphabet, kLiterals));
  if (bits.read(1)) {  // one or two symbols
    const bool two = bits.read(1);
    lengths[bits.read(bits.read(1) ? 8 : 1)] = 1;
    if (two) lengths[bits.read(8)] = 1;
    if (std::find(lengths.begin() + static_cast<std::ptrdiff_t>(alphabet), lengths.end(), 1) != lengths.end()) fail();
    return Code(lengths);
  }
  constexpr std::uint8_t kOrder[kLengthCodes] = {17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  std::vector<std::uint8_t> of_lengths(kLengthCodes);
  const std::size_t given = bits.read(4) + 4;
  if (given > kLengthCodes) fail();
  for (std::size_t i = 0; i < given; ++i) of_lengths[kOrder[i]] = static_cast<std::uint8_t>(bits.read(3));
  const Code code(of_lengths);
  std::size_t left = alphabet;
  if (bits.read(1)) {
    left = 2 + bits.read(2 + 2 * bits.read(3));
    if (left > alphabet) fail();
  }
  std::uint8_t last = 8;
  for (std::size_t symbol = 0; symbol < alphabet && left; --left) {
    const std::size_t one = code.read(bits);
    if (one < 16) {
      lengths[symbol++] = static_cast<std::uint8_t>(one);
      if (one) last = static_cast<std::uint8_t>(one);
      continue;
    }
    const std::size_t times = one == 16 ? 3 + bits.read(2) : one == 17 ? 3 + bits.read(3) : 11 + bits.read(7);
    if (times > alphabet - symbol) fail();
    std::fill_n(lengths.begin() + static_cast<std::ptrdiff_t>(symbol), times, one == 16 ? last : std::uint8_t{0});
    symbol += times;
  }
  return Code(lengths);
}

struct Group {
  Code green, red, blue, alpha, distance;
};

Group read_group(Bits& bits, std::size_t cache) {
  Group group;
  group.green = read_code(bits, kLiterals + kLengths + cache);
  for (Code* code : {&group.red, &group.blue, &group.alpha}) *code = read_code(bits, kLiterals);
  group.distance = read_code(bits, kDistances);
  return group;
}

std::size_t read_number(Bits& bits, std::size_t prefix) {
  if (prefix < 4) return prefix + 1;
  const std::size_t extra = (prefix - 2) / 2;
  return ((2 + (prefix & 1)) << extra) + bits.read(extra) + 1;
}

struct Step {
  int x, y;  // to the left, up
};

// Nearest first.
std::array<Step, kNearby> make_steps() {
  std::array<Step, kNearby> steps{};
  std::size_t count = 0;
  for (int y = 0; y < 8; ++y)
    for (int x = y ? -7 : 1; x <= 8; ++x) steps[count++] = {x, y};
  const auto key = [](const Step& step) {
    return std::array<int, 3>{step.x * step.x + step.y * step.y, std::abs(step.x), step.x < 0};
  };
  std::sort(steps.begin(), steps.end(), [&](const Step& a, const Step& b) { return key(a) < key(b); });
  return steps;
}

std::size_t distance_of(std::size_t code, std::size_t width) {
  static const std::array<Step, kNearby> steps = make_steps();
  if (code > kNearby) return code - kNearby;
  const Step step = steps[code - 1];
  return static_cast<std::size_t>(std::max<std::ptrdiff_t>(1, step.x + step.y * static_cast<std::ptrdiff_t>(width)));
}

Image read_image(Bits& bits, std::size_t width, std::size_t height, bool whole) {
  const std::size_t cache_bits = bits.read(1) ? bits.read(4) : 0;
  if (cache_bits > 11) fail();
  Image cache(cache_bits ? std::size_t{1} << cache_bits : 0);
  std::size_t group_bits = 0, group_count = 1;
  Image choice;  // of groups
  if (whole && bits.read(1)) {
    group_bits = bits.read(3) + 2;
    choice = read_image(bits, divided(width, group_bits), divided(height, group_bits), false);
    for (Argb& one : choice) group_count = std::max<std::size_t>(group_count, (one = one >> 8 & 0xFFFF) + 1);
  }
  std::vector<Group> groups;
  while (groups.size() < group_count) groups.push_back(read_group(bits, cache.size()));

  Image image(width * height);
  const std::size_t choices = divided(width, group_bits);
  const auto store = [&](std::size_t place, Argb pixel) {
    image[place] = pixel;
    if (cache_bits) cache[pixel * 0x1E35A7BD >> (32 - cache_bits)] = pixel;
  };
  for (std::size_t place = 0; place < image.size();) {
    const Group& group =
        groups[choice.empty() ? 0 : choice[(place / width >> group_bits) * choices + (place % width >> group_bits)]];
    const std::size_t green = group.green.read(bits);
    if (green < kLiterals) {
      const std::size_t red = group.red.read(bits), blue = group.blue.read(bits), alpha = group.alpha.read(bits);
      store(place++, static_cast<Argb>(alpha << 24 | red << 16 | green << 8 | blue));
    } else if (green < kLiterals + kLengths) {
      const std::size_t length = read_number(bits, green - kLiterals);
      const std::size_t distance = distance_of(read_number(bits, group.distance.read(bits)), width);
      if (distance > place || length > image.size() - place) fail();
      for (const std::size_t end = place + length; place < end; ++place) store(place, image[place - distance]);
    } else {
      store(place++, cache[green - kLiterals - kLengths]);
    }
  }
  return image;
}

Argb mean(Argb a, Argb b) {
  return each([&](int s) { return (channel(a, s) + channel(b, s)) / 2; });
}

Argb nearer(Argb left, Argb above, Argb corner) {
  int to_left = 0, to_above = 0;
  for (const int s : kShifts) {
    to_left += std::abs(channel(above, s) - channel(corner, s));
    to_above += std::abs(channel(left, s) - channel(corner, s));
  }
  return to_left < to_above ? left : above;
}

Argb predicted(std::uint32_t mode, const Argb* pixel, std::size_t width) {
  const Argb left = pixel[-1], *row = pixel - width, above = row[0], corner = row[-1], right = row[1];
  switch (mode) {
    case 1: return left;
    case 2: return above;
    case 3: return right;
    case 4: return corner;
    case 5: return mean(mean(left, right), above);
    case 6: return mean(left, corner);
    case 7: return mean(left, above);
    case 8: return mean(corner, above);
    case 9: return mean(above, right);
    case 10: return mean(mean(left, corner), mean(above, right));
    case 11: return nearer(left, above, corner);
    case 12:
      return each([&](int s) { return std::clamp(channel(left, s) + channel(above, s) - channel(corner, s), 0, 255); });
    case 13: {
      const Argb a = mean(left, above);
      return each([&](int s) { return std::clamp(channel(a, s) + (channel(a, s) - channel(corner, s)) / 2, 0, 255); });
    }
    default: return kBlack;
  }
}

enum class Kind { kPredictor, kColor, kSubtractGreen, kPalette };

struct Transform {
  Kind kind;
  std::size_t width;  // of the image that it makes
  std::size_t bits;   // of the side of a block, or of pixels in one
  Image data;
};

void predict(const Transform& transform, Image& image) {
  const std::size_t width = transform.width, blocks = divided(width, transform.bits);
  for (std::size_t i = 0; i < image.size(); ++i) {
    const std::size_t x = i % width, y = i / width;
    const std::uint32_t mode = transform.data[(y >> transform.bits) * blocks + (x >> transform.bits)] >> 8 & 15;
    image[i] = sum(image[i], !i ? kBlack : !y ? image[i - 1] : !x ? image[i - width] : predicted(mode, &image[i], width));
  }
}

void add_colors(const Transform& transform, Image& image) {
  const std::size_t width = transform.width, blocks = divided(width, transform.bits);
  const auto delta = [](Argb factor, int value) {
    return static_cast<std::int8_t>(factor & 255) * static_cast<std::int8_t>(value) >> 5;
  };
  for (std::size_t i = 0; i < image.size(); ++i) {
    const Argb factors = transform.data[(i / width >> transform.bits) * blocks + (i % width >> transform.bits)];
    const int green = channel(image[i], 8), red = (channel(image[i], 16) + delta(factors, green)) & 255;
    const int blue = (channel(image[i], 0) + delta(factors >> 8, green) + delta(factors >> 16, red)) & 255;
    image[i] = (image[i] & 0xFF00FF00) | static_cast<Argb>(red) << 16 | static_cast<Argb>(blue);
  }
}

Image from_palette(const Transform& transform, const Image& packed, std::size_t height) {
  const std::size_t width = transform.width, row = divided(width, transform.bits), bits = 8 >> transform.bits;
  const std::size_t inside = (std::size_t{1} << transform.bits) - 1;
  Image image(width * height);
  for (std::size_t i = 0; i < image.size(); ++i) {
    const std::size_t x = i % width;
    const Argb green = packed[i / width * row + (x >> transform.bits)] >> 8 & 255;
    const std::size_t index = green >> (x & inside) * bits & ((1u << bits) - 1);
    image[i] = index < transform.data.size() ? transform.data[index] : 0;
  }
  return image;
}

Image decode(Bytes file, std::size_t width, std::size_t height) {
  if (file.size < kFront) fail();
  const std::size_t size = read_u32(file.data + kFront - 4);
  if (size > file.size - kFront) fail();
  Bits bits(file.data + kFront, size);
  if (bits.read(8) != 0x2F || bits.read(14) + 1 != width || bits.read(14) + 1 != height) fail();
  if (bits.read(1), bits.read(3)) fail();  // a hint; the version

  std::vector<Transform> transforms;
  std::size_t columns = width;
  while (bits.read(1)) {
    Transform transform{static_cast<Kind>(bits.read(2)), columns, 0, {}};
    for (const Transform& other : transforms)
      if (other.kind == transform.kind) fail();
    if (transform.kind == Kind::kPalette) {
      const std::size_t colors = bits.read(8) + 1;
      transform.bits = colors <= 2 ? 3 : colors <= 4 ? 2 : colors <= 16 ? 1 : 0;
      transform.data = read_image(bits, colors, 1, false);
      std::partial_sum(transform.data.begin(), transform.data.end(), transform.data.begin(), sum);
      columns = divided(columns, transform.bits);
    } else if (transform.kind != Kind::kSubtractGreen) {
      transform.bits = bits.read(3) + 2;
      transform.data = read_image(bits, divided(columns, transform.bits), divided(height, transform.bits), false);
    }
    transforms.push_back(std::move(transform));
  }
  Image image = read_image(bits, columns, height, true);
  for (auto transform = transforms.rbegin(); transform != transforms.rend(); ++transform) {
    if (transform->kind == Kind::kPredictor) predict(*transform, image);
    if (transform->kind == Kind::kColor) add_colors(*transform, image);
    if (transform->kind == Kind::kPalette) image = from_palette(*transform, image, height);
    if (transform->kind == Kind::kSubtractGreen)
      for (Argb& pixel : image) pixel = sum(pixel, (pixel >> 8 & 255) * 0x00010001);
  }
  return image;
}

}  // namespace

std::vector<std::uint8_t> decode_vp8l(Bytes file, std::size_t width, std::size_t height) {
  Image image;
  try {
    image = decode(file, width, height);
  } catch (const Unsound&) {
    return {};
  }
  std::vector<std::uint8_t> rgba(4 * image.size());
  std::uint8_t* out = rgba.data();
  for (const Argb pixel : image)
    for (const int shift : {16, 8, 0, 24}) *out++ = static_cast<std::uint8_t>(pixel >> shift);
  return rgba;
}

}  // namespace aecodec
