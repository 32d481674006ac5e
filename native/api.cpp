// SPDX-License-Identifier: Apache-2.0
// The C API of decoding: checks arguments and turns exceptions into a status and a text. No logic.

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "alpha.hpp"
#include "api.hpp"
#include "decoding.hpp"
#include "sha256.hpp"

#ifndef AECODEC_VERSION
#define AECODEC_VERSION "0"
#endif

using aecodec::Box;
using aecodec::Bytes;
using aecodec::Error;
using aecodec::bytes;
using aecodec::cap;
using aecodec::guarded;
using aecodec::hex;
using aecodec::need;
using aecodec::read_file;
using aecodec::refuse;

namespace {

aecodec_options filled(const aecodec_options* given) {
  aecodec_options options = aecodec::known(given, "aecodec_options");
  if (!options.reduction) options.reduction = 1;
  if (options.reduction > 8 || (options.reduction & (options.reduction - 1)))
    refuse("reduction must be 1, 2, 4 or 8, got " + std::to_string(options.reduction));
  return options;
}

Box region(const aecodec_options& options, std::uint32_t width, std::uint32_t height) {
  const auto side = [](std::uint32_t value) { return static_cast<std::int32_t>(value); };
  const auto text = [&] {
    return std::to_string(options.x) + "," + std::to_string(options.y) + "," + std::to_string(options.width) + "," +
           std::to_string(options.height);
  };
  if (!options.width && !options.height && !options.x && !options.y) return {0, 0, side(width), side(height)};
  if (!options.width || !options.height || options.x >= width || options.y >= height ||
      options.width > width - options.x || options.height > height - options.y)
    refuse("region " + text() + " is not inside the picture of " + std::to_string(width) + "x" + std::to_string(height));
  return {side(options.x), side(options.y), side(options.x + options.width), side(options.y + options.height)};
}

std::uint32_t channels(const aecodec_options& options, std::uint32_t stored) {
  if (!options.channels) return stored;
  if (options.channels > 4) refuse("channels must be 0..4, got " + std::to_string(options.channels));
  if (options.channels <= 2 && stored > 2)
    refuse(std::to_string(options.channels) + " channels are for gray pictures, this one has colors");
  return options.channels;
}

aecodec_info info_of(const aecodec::Header& header) {
  aecodec_info info{};
  info.width = static_cast<std::uint32_t>(header.width);
  info.height = static_cast<std::uint32_t>(header.height);
  info.channels = (header.gray ? 1u : 3u) + header.alpha;
  info.level = static_cast<std::uint32_t>(header.level);
  info.model_id = header.model_id;
  info.tile = static_cast<std::uint32_t>(header.tile_side());
  info.tile_columns = static_cast<std::uint32_t>(header.tile_columns());
  info.tile_rows = static_cast<std::uint32_t>(header.tile_rows());
  return info;
}

void load(Bytes file, aecodec_weights** weights) {
  const aecodec::Weights arrays(file);
  try {
    *weights = std::make_unique<aecodec_weights>(arrays).release();
  } catch (const std::invalid_argument& error) {
    throw Error(AECODEC_BAD_WEIGHTS, std::string("not an aecodec weights file: ") + error.what());
  }
}

void decode(const aecodec_weights* weights, Bytes file, const aecodec_options& options, std::uint8_t* pixels,
            std::size_t stride, std::size_t pixels_size) {
  const aecodec::Header header = aecodec::read_header(file, cap(options.max_pixels));
  if (header.model_id) need(weights, "weights");
  const aecodec_info info = info_of(header);
  aecodec::Target target;
  target.area = region(options, info.width, info.height);
  target.factor = static_cast<int>(options.reduction);
  target.channels = static_cast<int>(channels(options, info.channels));
  target.pixels = pixels;
  target.stride = stride;
  const Box frame = target.area.reduced(target.factor);
  const std::size_t row = static_cast<std::size_t>(frame.width()) * static_cast<std::size_t>(target.channels);
  const std::size_t rows = static_cast<std::size_t>(frame.height()) - 1;
  if (stride < row) refuse("stride needs " + std::to_string(row) + " bytes, got " + std::to_string(stride));
  if (pixels_size < row || (rows && stride > (pixels_size - row) / rows))
    refuse("pixels need " + std::to_string(std::uint64_t{stride} * rows + row) + " bytes, got " + std::to_string(pixels_size));

  const aecodec::Container container = aecodec::unpack(file, header, aecodec::needed_around(target.area, header));
  if (header.model_id && header.model_id != weights->model_id)
    throw Error(AECODEC_OTHER_WEIGHTS, "file needs weights " + hex(header.model_id) + ", present: " + hex(weights->model_id));
  const aecodec::Alpha alpha(container, target.area);
  if (target.channels % 2 == 0 && !alpha.decodable())
    throw Error(AECODEC_UNSUPPORTED, "this library was built without libwebp, which alpha needs");
  std::function<bool(double)> progress;
  if (options.progress) progress = [&](double done) { return options.progress(options.context, done) == 0; };
  const int threads = aecodec::thread_count(options.threads);
  const aecodec::Size padded{header.padded().right, header.padded().bottom};
  const aecodec::Render render = [&](const aecodec::WindowView& window, const Box& area, std::uint8_t* rgb, std::size_t row_bytes) {
    weights->receiver.render({window.z, window.y, window.box, padded}, header.level, area, target.factor, threads, rgb, row_bytes);
  };
  aecodec::decode(container, header.model_id ? &weights->prior : nullptr, alpha, render, target, threads, progress);
}

}  // namespace

const char* aecodec_status_text(aecodec_status status) {
  switch (status) {
    case AECODEC_OK: return "success";
    case AECODEC_BAD_ARGUMENT: return "wrong argument";
    case AECODEC_BAD_FILE: return "damaged, or no .aec file";
    case AECODEC_TRUNCATED: return "file ends too early";
    case AECODEC_UNSUPPORTED: return "not supported by this version or build";
    case AECODEC_OTHER_WEIGHTS: return "file needs other weights";
    case AECODEC_TOO_LARGE: return "picture is too large";
    case AECODEC_BAD_WEIGHTS: return "damaged weights, or none";
    case AECODEC_CANNOT_READ: return "file cannot be read";
    case AECODEC_NO_MEMORY: return "not enough memory";
    case AECODEC_CANCELLED: return "cancelled";
    case AECODEC_INTERNAL: return "defect of the library";
  }
  return "unknown status";
}

const char* aecodec_version(void) { return AECODEC_VERSION; }

aecodec_status aecodec_weights_load_file(const char* path, aecodec_weights** weights, aecodec_error* error) {
  if (weights) *weights = nullptr;
  return guarded(error, [&] {
    need(path, "path");
    need(weights, "weights");
    const std::vector<std::uint8_t> data = read_file(path);
    load({data.data(), data.size()}, weights);
  });
}

aecodec_status aecodec_weights_load(const void* data, size_t size, aecodec_weights** weights, aecodec_error* error) {
  if (weights) *weights = nullptr;
  return guarded(error, [&] {
    need(weights, "weights");
    load(bytes(data, size, "data"), weights);
  });
}

uint32_t aecodec_weights_model_id(const aecodec_weights* weights) { return weights ? weights->model_id : 0; }

void aecodec_weights_free(aecodec_weights* weights) { delete weights; }

aecodec_status aecodec_read_info(const void* file, size_t size, uint64_t max_pixels, aecodec_info* info, aecodec_error* error) {
  return guarded(error, [&] {
    need(info, "info");
    *info = info_of(aecodec::read_header(bytes(file, size, "file"), cap(max_pixels)));
  });
}

aecodec_status aecodec_read_section(const void* file, size_t size, aecodec_section section, const uint8_t** payload,
                                    size_t* payload_size, aecodec_error* error) {
  if (payload) *payload = nullptr;
  if (payload_size) *payload_size = 0;
  return guarded(error, [&] {
    need(payload, "payload");
    need(payload_size, "payload_size");
    if (section < AECODEC_ICC || section > AECODEC_DIGEST) refuse("section " + std::to_string(section) + " is no metadata");
    const Bytes data = bytes(file, size, "file");
    (void)aecodec::read_header(data, UINT64_MAX);
    const Bytes found = aecodec::find_section(data, static_cast<aecodec::SectionKind>(section));
    *payload = found.data;
    *payload_size = found.size;
  });
}

aecodec_status aecodec_output_size(const aecodec_info* info, const aecodec_options* options, uint32_t* width, uint32_t* height,
                                   uint32_t* channel_count, aecodec_error* error) {
  return guarded(error, [&] {
    need(info, "info");
    const aecodec_options all = filled(options);
    const Box frame = region(all, info->width, info->height).reduced(static_cast<int>(all.reduction));
    const std::uint32_t count = channels(all, info->channels);
    if (width) *width = static_cast<std::uint32_t>(frame.width());
    if (height) *height = static_cast<std::uint32_t>(frame.height());
    if (channel_count) *channel_count = count;
  });
}

aecodec_status aecodec_decode(const aecodec_weights* weights, const void* file, size_t size, const aecodec_options* options,
                              void* pixels, size_t stride, size_t pixels_size, aecodec_error* error) {
  return guarded(error, [&] {
    need(pixels, "pixels");
    decode(weights, bytes(file, size, "file"), filled(options), static_cast<std::uint8_t*>(pixels), stride, pixels_size);
  });
}

aecodec_status aecodec_digest(const aecodec_info* info, const void* pixels, size_t stride, uint8_t* digest, aecodec_error* error) {
  return guarded(error, [&] {
    need(info, "info");
    need(pixels, "pixels");
    need(digest, "digest");
    const std::size_t row = std::size_t{info->width} * info->channels;
    if (stride < row) refuse("stride needs " + std::to_string(row) + " bytes, got " + std::to_string(stride));
    const auto byte = [](std::uint32_t value) { return static_cast<std::uint8_t>(value); };
    const std::uint8_t front[] = {byte(info->width), byte(info->width >> 8), byte(info->height), byte(info->height >> 8),
                                  byte(info->channels)};
    aecodec::Sha256 sha256;
    sha256.add(front, sizeof front);
    for (std::size_t i = 0; i < info->height; ++i) sha256.add(static_cast<const std::uint8_t*>(pixels) + i * stride, row);
    const aecodec::Sha256::Digest whole = sha256.digest();
    std::copy_n(whole.begin(), AECODEC_DIGEST_SIZE, digest);
  });
}
