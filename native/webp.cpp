// SPDX-License-Identifier: Apache-2.0

#include "webp.hpp"

#include <cstring>

#include "error.hpp"

#if defined(AECODEC_WEBP)
#include <webp/decode.h>
#elif defined(AECODEC_VP8L)
#include "vp8l.hpp"
#endif

namespace aecodec {
namespace {

constexpr std::size_t kChunk = 12, kSize = 21, kMinWebp = 25;  // of a WebP file: name of the chunk; sides, where that is VP8L
constexpr std::size_t kChannels = 4, kAlphaChannel = 3;

[[noreturn]] void fail(const std::string& text) { throw Error(AECODEC_BAD_FILE, text); }

struct Claim {
  std::int32_t width, height;
  bool alpha;
};

Claim read_claim(Bytes file) {
  const std::uint32_t bits = read_u32(file.data + kSize);  // 14 of width - 1, 14 of height - 1, one of alpha
  return {static_cast<std::int32_t>(bits & 0x3FFF) + 1, static_cast<std::int32_t>(bits >> 14 & 0x3FFF) + 1, (bits >> 28 & 1) != 0};
}

std::vector<std::uint8_t> decode([[maybe_unused]] Bytes file, [[maybe_unused]] std::size_t width,
                                 [[maybe_unused]] std::size_t height) {
#if defined(AECODEC_WEBP)
  std::vector<std::uint8_t> rgba(kChannels * width * height);
  if (!WebPDecodeRGBAInto(file.data, file.size, rgba.data(), rgba.size(), static_cast<int>(kChannels * width))) return {};
  return rgba;
#elif defined(AECODEC_VP8L)
  return decode_vp8l(file, width, height);
#else
  throw Error(AECODEC_UNSUPPORTED, "this library was built without libwebp");
#endif
}

}  // namespace

bool has_webp() {
#if defined(AECODEC_WEBP) || defined(AECODEC_VP8L)
  return true;
#else
  return false;
#endif
}

void check_webp(Bytes file, const Box& box, const std::string& name) {
  if (file.size < kChunk + 4 || std::memcmp(file.data + kChunk, "VP8L", 4) != 0) fail(name + " is not a lossless WebP file");
  if (file.size < kMinWebp) fail(name + " is not a valid WebP file");
  const Claim claim = read_claim(file);
  if (claim.width != box.width() || claim.height != box.height())
    fail(name + " is " + std::to_string(claim.width) + "x" + std::to_string(claim.height) + ", its tile " +
         std::to_string(box.width()) + "x" + std::to_string(box.height()));
}

std::vector<std::uint8_t> decode_webp(Bytes file, const Box& box, const std::string& name) {
  std::vector<std::uint8_t> rgba = decode(file, static_cast<std::size_t>(box.width()), static_cast<std::size_t>(box.height()));
  if (rgba.empty()) fail(name + " is not a valid WebP file");
  if (!read_claim(file).alpha)  // decoders do not agree on what is in the stream then
    for (std::size_t i = kAlphaChannel; i < rgba.size(); i += kChannels) rgba[i] = 255;
  return rgba;
}

}  // namespace aecodec
