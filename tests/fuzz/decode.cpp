// SPDX-License-Identifier: Apache-2.0
//
// libFuzzer target of the whole native decoder (`make fuzz`): weights as given by the environment, files hostile. The mutator mends
// every CRC as far as lengths lead (docs/format.md, section 1), so that what is behind them is reached; the weights that a
// file asks for, if it does, are those that there are. Every other time it mends what is in front of drawn pixels as well.
//
//   AECODEC_WEIGHTS=FILE fuzz_decode CORPUS

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "aecodec.h"
#include "container.hpp"
#include "error.hpp"

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);

namespace {

constexpr std::uint64_t kMaxPixels = 1 << 16;

const aecodec_weights* weights() {
  static const aecodec_weights* const loaded = [] {
    aecodec_weights* result = nullptr;
    aecodec_error error;
    const char* const path = std::getenv("AECODEC_WEIGHTS");
    if (!path || aecodec_weights_load_file(path, &result, &error) != AECODEC_OK) {
      std::fprintf(stderr, "AECODEC_WEIGHTS: %s\n", path ? error.text : "not set");
      std::exit(2);
    }
    return result;
  }();
  return loaded;
}

std::uint32_t crc32(const std::uint8_t* bytes, std::size_t size, std::uint32_t crc = 0) {
  crc = ~crc;
  for (std::size_t i = 0; i < size; ++i) {
    crc ^= bytes[i];
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0u);
  }
  return ~crc;
}

void write_u32(std::uint8_t* to, std::uint32_t value) {
  for (int k = 0; k < 4; ++k) to[k] = static_cast<std::uint8_t>(value >> (8 * k));
}

// Step, length and front of the WebP file of a tile, whose size is that of the tile.
void mend_drawn(std::uint8_t* payload, std::size_t size, const aecodec::Box& box) {
  constexpr std::size_t kFront = 5, kStream = 20, kMinWebp = 25;
  if (size < kFront + kMinWebp) return;
  payload[0] = static_cast<std::uint8_t>(payload[0] % 9 * 2 + 1);
  const std::size_t claim = aecodec::read_u32(payload + 1), length = claim < kMinWebp ? kMinWebp : std::min(claim, size - kFront);
  write_u32(payload + 1, static_cast<std::uint32_t>(length));
  std::uint8_t* const webp = payload + kFront;
  std::memcpy(webp, "RIFF", 4);
  write_u32(webp + 4, static_cast<std::uint32_t>(length - 8));
  std::memcpy(webp + 8, "WEBPVP8L", 8);
  write_u32(webp + 16, static_cast<std::uint32_t>(length - kStream));
  webp[kStream] = 0x2F;
  const std::uint32_t alpha = aecodec::read_u32(webp + 21) & 1u << 28;
  write_u32(webp + 21, static_cast<std::uint32_t>(box.width() - 1) | static_cast<std::uint32_t>(box.height() - 1) << 14 | alpha);
}

void mend(std::uint8_t* data, std::size_t size, bool drawn) {
  const std::size_t end = size > 5 && data[5] & 4 ? 18 : 17;
  if (size < end + 4) return;
  std::memcpy(data, "\xae" "aec", 4);
  data[4] = aecodec::kFormatVersion;
  if (aecodec::read_u32(data + 12)) write_u32(data + 12, aecodec_weights_model_id(weights()));
  write_u32(data + end, crc32(data, end));
  aecodec::Header header;
  try {
    header = aecodec::read_header({data, size}, kMaxPixels);
  } catch (const aecodec::Error&) {
    drawn = false;
  }
  std::size_t tile = 0;
  for (std::size_t place = end + 4; size - place >= 9;) {
    std::uint8_t* const front = data + place;
    const std::size_t claim = aecodec::read_u32(front + 1);
    const std::size_t length = std::min(claim, size - place - 9);
    if (drawn && front[0] == aecodec::kDrawn && tile < header.tile_count())
      mend_drawn(front + 9, length, header.tile_box(tile).intersection(header.bounds()));
    tile += front[0] == aecodec::kDrawn || front[0] == aecodec::kTile;
    write_u32(front + 5, crc32(front + 9, length, crc32(front, 5)));
    place += 9 + length;
  }
}

// Takes options from the bytes of a file that decide least, its last ones: they stay a function of the input.
aecodec_options options_of(const aecodec_info& info, const std::uint8_t* data, std::size_t size) {
  const std::uint32_t a = data[size - 1], b = data[size - 2], c = data[size - 3];
  aecodec_options options{};
  options.size = sizeof options;
  options.max_pixels = kMaxPixels;
  options.channels = a % 5;
  options.reduction = 1u << (a / 5 % 4);
  options.threads = 1 + (b & 1);
  if (b & 2) {
    options.x = c * info.width >> 8;
    options.y = b * info.height >> 8;
    options.width = 1 + (a * (info.width - options.x - 1) >> 8);
    options.height = 1 + (c * (info.height - options.y - 1) >> 8);
  }
  return options;
}

}  // namespace

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size, unsigned seed) {
  size = LLVMFuzzerMutate(data, size, max_size);
  mend(data, size, seed & 1);
  return size;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* given, std::size_t size) {
  std::vector<std::uint8_t> data(given, given + size);  // seeds come as they are
  if (!data.empty()) mend(data.data(), data.size(), false);
  aecodec_info info;
  if (aecodec_read_info(data.data(), size, kMaxPixels, &info, nullptr) != AECODEC_OK) return 0;
  for (int section = AECODEC_ICC; section <= AECODEC_DIGEST; ++section) {
    const std::uint8_t* payload;
    std::size_t length;
    (void)aecodec_read_section(data.data(), size, static_cast<aecodec_section>(section), &payload, &length, nullptr);
  }
  const aecodec_options options = options_of(info, data.data(), size);
  std::uint32_t width, height, channels;
  if (aecodec_output_size(&info, &options, &width, &height, &channels, nullptr) != AECODEC_OK) return 0;
  std::vector<std::uint8_t> pixels(std::size_t{width} * height * channels);
  const aecodec_status status =
      aecodec_decode(weights(), data.data(), size, &options, pixels.data(), std::size_t{width} * channels, pixels.size(), nullptr);
  if (status == AECODEC_INTERNAL || status == AECODEC_BAD_ARGUMENT || status == AECODEC_TOO_LARGE) std::abort();
  return 0;
}
