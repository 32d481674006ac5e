// SPDX-License-Identifier: Apache-2.0
// The C API of encoding, apart from api.cpp so that those who only decode need nothing of it.

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <new>

#include "api.hpp"
#include "encoding.hpp"

using aecodec::Error;
using aecodec::need;
using aecodec::refuse;

struct aecodec_encoder {
  aecodec_encoder(const aecodec::Weights& networks, const aecodec_weights& weights)
      : encoder(networks, weights.prior, weights.receiver), model_id(weights.model_id) {}

  aecodec::Encoder encoder;
  std::uint32_t model_id;
};

namespace {

void load(const aecodec_weights* weights, aecodec::Bytes data, aecodec_encoder** encoder) {
  const aecodec::Weights networks(data);
  if (networks.model_id() != weights->model_id)
    throw Error(AECODEC_OTHER_WEIGHTS,
                "networks are of weights " + aecodec::hex(networks.model_id()) + ", present: " + aecodec::hex(weights->model_id));
  try {
    *encoder = std::make_unique<aecodec_encoder>(networks, *weights).release();
  } catch (const std::invalid_argument& error) {
    throw Error(AECODEC_BAD_WEIGHTS, std::string("no aecodec weights file: ") + error.what());
  }
}

// Pixels RGB without anything between rows
std::vector<std::uint8_t> colors(const std::uint8_t* pixels, std::size_t width, std::size_t height, std::size_t channels,
                                 std::size_t stride) {
  if (width > SIZE_MAX / 3 / height) throw std::bad_alloc();  // of 32 bits
  std::vector<std::uint8_t> rgb(width * height * 3);
  std::uint8_t* out = rgb.data();
  for (std::size_t i = 0; i < height; ++i) {
    const std::uint8_t* x = pixels + i * stride;
    for (std::size_t j = 0; j < width; ++j, x += channels) {
      if (channels == 4 && x[3] != 255)
        throw Error(AECODEC_UNSUPPORTED, "alpha is " + std::to_string(x[3]) + " at " + std::to_string(j) + "," + std::to_string(i) +
                                             ": transparency is not encoded here");
      for (std::size_t c = 0; c < 3; ++c) *out++ = x[channels == 1 ? 0 : c];
    }
  }
  return rgb;
}

aecodec::File encode(const aecodec_encoder& encoder, const std::uint8_t* pixels, std::uint32_t width, std::uint32_t height,
                     std::uint32_t channels, std::size_t stride, const aecodec_encode_options& options) {
  if (channels != 1 && channels != 3 && channels != 4) refuse("channels must be 1, 3 or 4, got " + std::to_string(channels));
  const std::uint64_t count = std::uint64_t{width} * height, most = aecodec::cap(options.max_pixels);
  if (!count || count > most || std::max(width, height) > static_cast<std::uint32_t>(aecodec::kMaxPictureSide))
    throw Error(count > most ? AECODEC_TOO_LARGE : AECODEC_BAD_ARGUMENT,
                "picture of " + std::to_string(width) + "x" + std::to_string(height) + " is outside 1.." + std::to_string(most) +
                    " pixels or " + std::to_string(aecodec::kMaxPictureSide) + " per side");
  const std::size_t row = std::size_t{width} * channels;
  if (stride < row) refuse("stride needs " + std::to_string(row) + " bytes, got " + std::to_string(stride));
  const double quality = options.quality == 0 ? 55 : options.quality;
  if (!(quality >= 1 && quality <= 100)) refuse("quality must be 1..100, got " + std::to_string(quality));
  if (options.max_bytes && options.quality != 0) refuse("give one of quality and max_bytes, not both");
  if (options.effort > aecodec::kMaxEffort && options.effort != AECODEC_NO_EFFORT)
    refuse("effort must be 0.." + std::to_string(aecodec::kMaxEffort) + ", got " + std::to_string(options.effort));
  if (options.tile > aecodec::kMaxTile)
    refuse("tile must be 1.." + std::to_string(aecodec::kMaxTile) + ", got " + std::to_string(options.tile));
  aecodec::Header header;
  header.width = static_cast<std::int32_t>(width);
  header.height = static_cast<std::int32_t>(height);
  header.level = static_cast<int>(std::nearbyint(100 * quality));
  header.model_id = encoder.model_id;
  header.tile = options.tile ? static_cast<std::int32_t>(options.tile) : 16;
  header.gray = channels == 1;
  const auto effort = aecodec::Effort::of(options.effort == AECODEC_NO_EFFORT ? 0
                                          : options.effort                   ? static_cast<int>(options.effort)
                                                                             : aecodec::kDefaultEffort);
  const int threads = aecodec::thread_count(options.threads);
  const std::vector<std::uint8_t> rgb = colors(pixels, width, height, channels, stride);
  return options.max_bytes ? encoder.encoder.fit(rgb.data(), header, options.max_bytes, effort, threads)
                           : encoder.encoder.encode(rgb.data(), header, effort, threads);
}

}  // namespace

aecodec_status aecodec_encoder_load_file(const aecodec_weights* weights, const char* path, aecodec_encoder** encoder,
                                         aecodec_error* error) {
  if (encoder) *encoder = nullptr;
  return aecodec::guarded(error, [&] {
    need(weights, "weights");
    need(path, "path");
    need(encoder, "encoder");
    const std::vector<std::uint8_t> data = aecodec::read_file(path);
    load(weights, {data.data(), data.size()}, encoder);
  });
}

aecodec_status aecodec_encoder_load(const aecodec_weights* weights, const void* data, size_t size, aecodec_encoder** encoder,
                                    aecodec_error* error) {
  if (encoder) *encoder = nullptr;
  return aecodec::guarded(error, [&] {
    need(weights, "weights");
    need(encoder, "encoder");
    load(weights, aecodec::bytes(data, size, "data"), encoder);
  });
}

void aecodec_encoder_free(aecodec_encoder* encoder) { delete encoder; }

aecodec_status aecodec_encode(const aecodec_encoder* encoder, const void* pixels, uint32_t width, uint32_t height, uint32_t channels,
                              size_t stride, const aecodec_encode_options* options, uint8_t** file, size_t* file_size,
                              aecodec_error* error) {
  if (file) *file = nullptr;
  if (file_size) *file_size = 0;
  return aecodec::guarded(error, [&] {
    need(encoder, "encoder");
    need(pixels, "pixels");
    need(file, "file");
    need(file_size, "file_size");
    const aecodec::File found = encode(*encoder, static_cast<const std::uint8_t*>(pixels), width, height, channels, stride,
                                       aecodec::known(options, "aecodec_encode_options"));
    *file = static_cast<std::uint8_t*>(std::malloc(found.size()));
    if (!*file) throw std::bad_alloc();
    std::copy(found.begin(), found.end(), *file);
    *file_size = found.size();
  });
}

void aecodec_file_free(uint8_t* file) { std::free(file); }
