// SPDX-License-Identifier: Apache-2.0
// What the C API of decoding (api.cpp) and that of encoding (encoding_api.cpp) share.

#pragma once

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "aecodec.h"
#include "container.hpp"
#include "error.hpp"
#include "receiver.hpp"
#include "tile.hpp"
#include "weights.hpp"

struct aecodec_weights {
  explicit aecodec_weights(const aecodec::Weights& file)
      : prior(file), receiver(file.arrays("receiver."), prior.N(), prior.M()), model_id(file.model_id()) {}

  aecodec::Prior prior;
  aecodec::Receiver receiver;
  std::uint32_t model_id;
};

namespace aecodec {

constexpr std::uint32_t kMaxThreads = 256;

inline void set(aecodec_error* error, aecodec_status status, const char* text) {
  if (!error) return;
  error->status = status;
  std::snprintf(error->text, sizeof error->text, "%s", text);
}

// What work() throws, as a status.
template <typename Work>
aecodec_status guarded(aecodec_error* error, const Work& work) noexcept {
  aecodec_status status = AECODEC_OK;
  try {
    work();
    set(error, status, "");
  } catch (const Error& caught) {
    set(error, status = caught.status, caught.what());
  } catch (const std::bad_alloc&) {
    set(error, status = AECODEC_NO_MEMORY, "not enough memory");
  } catch (const std::length_error&) {  // what a container throws where even the size is out of reach
    set(error, status = AECODEC_NO_MEMORY, "not enough memory");
  } catch (const std::exception& caught) {
    set(error, status = AECODEC_INTERNAL, caught.what());
  } catch (...) {
    set(error, status = AECODEC_INTERNAL, "unknown exception");
  }
  return status;
}

[[noreturn]] inline void refuse(const std::string& text) { throw Error(AECODEC_BAD_ARGUMENT, text); }

inline void need(const void* pointer, const char* name) {
  if (!pointer) refuse(std::string(name) + " is NULL");
}

inline Bytes bytes(const void* data, std::size_t size, const char* name) {
  if (size) need(data, name);
  static const std::uint8_t nothing = 0;
  return {data ? static_cast<const std::uint8_t*>(data) : &nothing, size};
}

inline std::uint64_t cap(std::uint64_t max_pixels) { return max_pixels ? max_pixels : aecodec::kMaxPixels; }

// Options as far as the caller knows them. `name` is that of their type.
template <typename Options>
Options known(const Options* given, const char* name) {
  Options options{};
  if (given && (given->size < sizeof given->size || given->size > 1 << 16))
    refuse("size of the options is " + std::to_string(given->size) + ", it must be sizeof(" + name + ")");
  if (given) std::memcpy(&options, given, std::min(given->size, sizeof options));
  return options;
}

inline int thread_count(std::uint32_t threads) {
  return static_cast<int>(std::clamp(threads ? threads : std::thread::hardware_concurrency(), 1u, kMaxThreads));
}

inline std::string hex(std::uint32_t value) {
  char text[9];
  std::snprintf(text, sizeof text, "%08lx", static_cast<unsigned long>(value));
  return text;
}

inline std::vector<std::uint8_t> read_file(const char* path) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path, "rb"), std::fclose);
  if (!file) throw Error(AECODEC_CANNOT_READ, std::string(path) + " cannot be opened");
  std::vector<std::uint8_t> data;
  std::size_t used = 0;
  do {
    data.resize(std::max<std::size_t>(2 * used, 1 << 23));
    used += std::fread(data.data() + used, 1, data.size() - used, file.get());
  } while (used == data.size());
  if (std::ferror(file.get())) throw Error(AECODEC_CANNOT_READ, std::string(path) + " cannot be read");
  data.resize(used);
  return data;
}

}  // namespace aecodec
