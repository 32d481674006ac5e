// SPDX-License-Identifier: Apache-2.0

#include "weights.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "error.hpp"

namespace aecodec {
namespace {

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "weights are read in place: they are little-endian"
#endif

constexpr char kFormat[] = "aecodec weights 2";
constexpr char kReceiverFormat[] = "aecodec receiver 1";  // without networks, named by the digest of the weights it is of
constexpr char kNetworksFormat[] = "aecodec networks 1";  // likewise, of what an encoder needs besides
constexpr std::size_t kLengthSize = 8;            // in front of the index
constexpr std::size_t kMaxIndex = 1 << 24;        // bytes; that of the shipped models is 19 kB
constexpr std::size_t kMaxDimensions = 8;

struct TypeName {
  Type type;
  const char* stored;  // safetensors' name
  const char* hashed;  // numpy's
  std::size_t size;    // bytes
};

constexpr TypeName kTypes[] = {{Type::kF16, "F16", "<f2", 2}, {Type::kF32, "F32", "<f4", 4}, {Type::kI8, "I8", "|i1", 1},
                               {Type::kI16, "I16", "<i2", 2}, {Type::kI32, "I32", "<i4", 4}};

const TypeName& type_name(Type type) {
  return *std::find_if(std::begin(kTypes), std::end(kTypes), [&](const TypeName& one) { return one.type == type; });
}

[[noreturn]] void fail(const std::string& text) { throw Error(AECODEC_BAD_WEIGHTS, "not an aecodec weights file: " + text); }

// What an index needs of JSON (RFC 8259): objects, arrays of whole numbers, strings. Strings are bytes.
class Json {
 public:
  Json(const std::uint8_t* data, std::size_t size) : next_(data), end_(data + size) {}

  // Calls member(name) for each; it must read the value. A name that appears twice is refused.
  template <typename Member>
  void object(Member member) {
    expect('{');
    std::vector<std::string> names;
    if (!accept('}')) {
      do {
        names.push_back(string());
        expect(':');
        member(names.back());
      } while (accept(','));
      expect('}');
    }
    std::sort(names.begin(), names.end());
    if (std::adjacent_find(names.begin(), names.end()) != names.end()) fail("a name appears twice in its index");
  }

  std::vector<std::size_t> numbers() {
    std::vector<std::size_t> values;
    expect('[');
    if (accept(']')) return values;
    do {
      if (values.size() == kMaxDimensions) fail("an array of its index is too long");
      values.push_back(number());
    } while (accept(','));
    expect(']');
    return values;
  }

  std::string string() {
    expect('"');
    std::string text;
    for (;;) {
      const std::uint8_t c = byte();
      if (c == '"') return text;
      if (c < 0x20) fail("a string of its index holds a control character");
      if (c == '\\')
        escape(text);
      else
        text += static_cast<char>(c);
    }
  }

  void finish() {
    space();
    if (next_ != end_) fail("its index does not end where its object ends");
  }

 private:
  std::uint8_t byte() {
    if (next_ == end_) fail("its index is truncated");
    return *next_++;
  }

  void space() {
    while (next_ != end_ && (*next_ == ' ' || *next_ == '\n' || *next_ == '\r' || *next_ == '\t')) ++next_;
  }

  bool accept(char c) {
    space();
    const bool found = next_ != end_ && *next_ == static_cast<std::uint8_t>(c);
    next_ += found;
    return found;
  }

  void expect(char c) {
    if (!accept(c)) fail(std::string("its index has no ") + c + " where one must be");
  }

  std::size_t number() {
    space();
    const std::uint8_t* start = next_;
    std::uint64_t value = 0;
    for (; next_ != end_ && *next_ >= '0' && *next_ <= '9'; ++next_) {
      value = 10 * value + (*next_ - '0');
      if (value > SIZE_MAX / 16 || value > UINT64_MAX / 16) fail("a number of its index is too large");
    }
    if (next_ == start || (*start == '0' && next_ - start > 1)) fail("its index has no number where one must be");
    return static_cast<std::size_t>(value);
  }

  void escape(std::string& text) {
    const char c = static_cast<char>(byte());
    const char* const from = "\"\\/bfnrt";
    const char* const place = c ? std::strchr(from, c) : nullptr;
    if (place)
      text += "\"\\/\b\f\n\r\t"[place - from];
    else if (c == 'u')
      unicode(text);
    else
      fail("a string of its index has an unknown escape");
  }

  std::uint32_t code_unit() {
    std::uint32_t value = 0;
    for (int i = 0; i < 4; ++i) {
      const std::uint8_t c = byte();
      const char* const digits = "0123456789abcdef";
      const char* const place = c ? std::strchr(digits, c >= 'A' && c <= 'F' ? c + 32 : c) : nullptr;
      if (!place) fail("a string of its index has an unknown escape");
      value = 16 * value + static_cast<std::uint32_t>(place - digits);
    }
    return value;
  }

  void unicode(std::string& text) {
    std::uint32_t code = code_unit();
    if (code >> 10 == 0xD800 >> 10) {  // the first half of a pair
      if (byte() != '\\' || byte() != 'u') fail("a string of its index has half a character");
      const std::uint32_t low = code_unit();
      if (low >> 10 != 0xDC00 >> 10) fail("a string of its index has half a character");
      code = 0x10000 + ((code & 1023) << 10) + (low & 1023);
    } else if (code >> 10 == 0xDC00 >> 10) {
      fail("a string of its index has half a character");
    }
    const auto add = [&](std::uint32_t value) { text += static_cast<char>(value); };
    if (code < 0x80) return add(code);
    if (code < 0x800) {
      add(0xC0 | code >> 6);
    } else {
      if (code < 0x10000) {
        add(0xE0 | code >> 12);
      } else {
        add(0xF0 | code >> 18);
        add(0x80 | (code >> 12 & 63));
      }
      add(0x80 | (code >> 6 & 63));
    }
    add(0x80 | (code & 63));
  }

  const std::uint8_t* next_;
  const std::uint8_t* end_;
};

struct Entry {
  ArrayView view;
  std::size_t begin = 0, end = 0;  // bytes behind the index
};

Entry read_entry(Json& json, const std::string& name) {
  Entry entry;
  const TypeName* type = nullptr;
  std::vector<std::size_t> offsets;
  bool shaped = false;
  json.object([&](const std::string& key) {
    if (key == "dtype") {
      const std::string stored = json.string();
      for (const TypeName& one : kTypes)
        if (stored == one.stored) type = &one;
      if (!type) fail(name + " is of type " + stored);
    } else if (key == "shape") {
      entry.view.shape = json.numbers();
      shaped = true;
    } else if (key == "data_offsets") {
      offsets = json.numbers();
    } else {
      fail("unknown field " + key + " of " + name);
    }
  });
  if (!type || !shaped || offsets.size() != 2) fail(name + " has no type, shape or place");
  entry.view.type = type->type;
  std::size_t size = type->size;
  for (const std::size_t side : entry.view.shape) {
    if (side && size > SIZE_MAX / side) fail(name + " is too large");
    size *= side;
  }
  entry.begin = offsets[0];
  entry.end = offsets[1];
  if (entry.begin > entry.end || entry.end - entry.begin != size)
    fail(name + " needs " + std::to_string(size) + " bytes, its place is " + std::to_string(entry.begin) + ".." +
         std::to_string(entry.end));
  return entry;
}

// Arrays must fill the data one behind the other: no byte of a file escapes its digest.
void check_places(const std::map<std::string, Entry>& entries, std::size_t size) {
  std::vector<std::pair<std::size_t, std::size_t>> places;
  for (const auto& [name, entry] : entries) places.emplace_back(entry.begin, entry.end);
  std::sort(places.begin(), places.end());
  std::size_t end = 0;
  for (const auto& place : places) {
    if (place.first != end) fail("its arrays leave gaps or overlap at byte " + std::to_string(end));
    end = place.second;
  }
  if (end != size) fail("its arrays need " + std::to_string(end) + " bytes, got " + std::to_string(size));
}

std::string shape_text(const std::vector<std::size_t>& shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

std::string hex(const Sha256::Digest& digest) {
  std::string text;
  for (const std::uint8_t byte : digest) text += {"0123456789abcdef"[byte >> 4], "0123456789abcdef"[byte & 15]};
  return text;
}

Sha256::Digest unhex(const std::string& text) {
  Sha256::Digest digest{};
  const auto digit = [](char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1; };
  if (text.size() != 2 * digest.size()) fail("its weights are no SHA-256");
  for (std::size_t i = 0; i < digest.size(); ++i) {
    const int high = digit(text[2 * i]), low = digit(text[2 * i + 1]);
    if (high < 0 || low < 0) fail("its weights are no SHA-256");
    digest[i] = static_cast<std::uint8_t>(16 * high + low);
  }
  return digest;
}

std::size_t index_size(Bytes file) {
  if (file.size < kLengthSize) fail("it has " + std::to_string(file.size) + " bytes");
  const std::uint64_t size = read_u32(file.data) | std::uint64_t{read_u32(file.data + 4)} << 32;
  if (size > kMaxIndex || size > file.size - kLengthSize)
    fail("its index claims " + std::to_string(size) + " bytes of " + std::to_string(file.size - kLengthSize));
  return static_cast<std::size_t>(size);
}

}  // namespace

Weights::Weights(Bytes file) {
  const std::size_t length = index_size(file);
  const std::uint8_t* data = file.data + kLengthSize + length;
  std::map<std::string, Entry> entries;
  std::map<std::string, std::string> metadata;
  Json json(file.data + kLengthSize, length);
  json.object([&](const std::string& name) {
    if (name == "__metadata__")
      json.object([&](const std::string& key) { metadata[key] = json.string(); });
    else
      entries.emplace(name, read_entry(json, name));
  });
  json.finish();
  check_places(entries, file.size - kLengthSize - length);
  const bool part = metadata["format"] == kReceiverFormat || metadata["format"] == kNetworksFormat;
  if (!part && metadata["format"] != kFormat) fail("its format is " + metadata["format"] + ", not " + kFormat);

  config_ = metadata["config"];
  Sha256 sha256;
  sha256.add(config_);
  if (part) sha256.add(metadata["weights"]);
  for (auto& [name, entry] : entries) {
    sha256.add(name + " " + type_name(entry.view.type).hashed + " " + shape_text(entry.view.shape) + "\n");
    sha256.add(data + entry.begin, entry.end - entry.begin);
    add(name, std::move(entry.view), data + entry.begin, entry.end - entry.begin);
  }
  const Sha256::Digest digest = sha256.digest();
  if (hex(digest) != metadata["sha256"])
    throw Error(AECODEC_BAD_WEIGHTS, "weights are damaged: SHA-256 " + hex(digest) + ", expected " + metadata["sha256"]);
  model_id_ = read_u32((part ? unhex(metadata["weights"]) : digest).data());
}

void Weights::add(const std::string& name, ArrayView view, const std::uint8_t* data, std::size_t size) {
  view.data = data;
  if (reinterpret_cast<std::uintptr_t>(data) % type_name(view.type).size) {
    aligned_.emplace_back((size + 3) / 4);
    std::copy_n(data, size, reinterpret_cast<std::uint8_t*>(aligned_.back().data()));
    view.data = aligned_.back().data();
  }
  arrays_.emplace(name, std::move(view));
}

Arrays Weights::arrays(const std::string& prefix) const {
  Arrays found;
  for (const auto& [name, view] : arrays_)
    if (name.compare(0, prefix.size(), prefix) == 0) found.emplace(name.substr(prefix.size()), view);
  return found;
}

const ArrayView& Weights::get(const std::string& name, Type type, std::size_t dimensions) const {
  const auto found = arrays_.find(name);
  if (found == arrays_.end()) fail("it has no " + name);
  const ArrayView& view = found->second;
  if (view.type != type || view.shape.size() != dimensions)
    fail(name + " is " + type_name(view.type).stored + " " + shape_text(view.shape) + ", not " + type_name(type).stored +
         " of " + std::to_string(dimensions) + " dimensions");
  return view;
}

}  // namespace aecodec
