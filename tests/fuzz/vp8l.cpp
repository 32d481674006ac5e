// SPDX-License-Identifier: Apache-2.0
//
// libFuzzer target of vp8l.cpp (`make fuzz`): a stream of any bytes never does harm, and its pixels are those of libwebp.
//
//   fuzz_vp8l CORPUS

#include <webp/decode.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "vp8l.hpp"

namespace {

constexpr std::size_t kFront = 20;  // bytes of a WebP file before its stream
constexpr std::size_t kMaxPixels = 1 << 14;

void write_u32(std::uint8_t* to, std::size_t value) {
  for (int k = 0; k < 4; ++k) to[k] = static_cast<std::uint8_t>(value >> (8 * k));
}

}  // namespace

// The input is a WebP file, of which the front is made right.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* given, std::size_t size) {
  if (size < kFront + 5) return 0;
  std::vector<std::uint8_t> file(given, given + size);
  std::memcpy(file.data(), "RIFF....WEBPVP8L", 16);
  write_u32(file.data() + 4, size - 8);
  write_u32(file.data() + 16, size - kFront);
  file[kFront] = 0x2F;
  const std::uint32_t claim = aecodec::read_u32(file.data() + kFront + 1);
  const std::size_t width = (claim & 0x3FFF) + 1, height = (claim >> 14 & 0x3FFF) + 1;
  if (width * height > kMaxPixels) return 0;
  const std::vector<std::uint8_t> ours = aecodec::decode_vp8l({file.data(), size}, width, height);
  std::vector<std::uint8_t> theirs(4 * width * height);
  const bool sound = WebPDecodeRGBAInto(file.data(), size, theirs.data(), theirs.size(), static_cast<int>(4 * width)) != nullptr;
  if (!ours.empty() && sound && ours != theirs) std::abort();
  return 0;
}
