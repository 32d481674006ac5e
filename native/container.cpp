// SPDX-License-Identifier: Apache-2.0

#include "container.hpp"

#include <algorithm>
#include <cstring>
#include <string>

#include "error.hpp"
#include "webp.hpp"

namespace aecodec {
namespace {

constexpr std::array<std::uint8_t, 4> kMagic{0xAE, 0x61, 0x65, 0x63};
constexpr std::uint8_t kGrayFlag = 0x01, kAlphaFlag = 0x02, kConstantAlphaFlag = 0x04;
constexpr std::uint8_t kFlags = kGrayFlag | kAlphaFlag | kConstantAlphaFlag;
constexpr std::uint8_t kAncillary = 0x80;  // bit of a section kind: a decoder that does not know it skips it
constexpr std::size_t kFixedSize = 17;     // of the header before constant alpha and CRC
constexpr std::size_t kFrontSize = 5;      // of a section before its CRC
constexpr std::size_t kCrcSize = 4;
constexpr std::size_t kDrawnFront = 5;  // of a tile with drawn pixels: step, length of their data
constexpr std::size_t kSectionSize = kFrontSize + kCrcSize;
constexpr std::size_t kMinTileSize = kSectionSize + 8;  // a stream is at least the state of the coder
constexpr int kMinLevel = 100, kMaxLevel = 10000;
constexpr int kMaxStep = 17;  // of drawn pixels

std::string hex(std::uint32_t value, int digits) {
  std::string text;
  for (int shift = 4 * (digits - 1); shift >= 0; shift -= 4) text += "0123456789abcdef"[value >> shift & 15];
  return text;
}

std::string hex_bytes(const std::uint8_t* bytes, std::size_t count) {
  std::string text;
  for (std::size_t i = 0; i < count; ++i) text += (i ? " " : "") + hex(bytes[i], 2);
  return text;
}

[[noreturn]] void fail(aecodec_status status, const std::string& text) { throw Error(status, text); }

// Eight bytes at once: table k is for a byte with k bytes behind it.
constexpr std::size_t kSlices = 8;
using CrcTables = std::array<std::array<std::uint32_t, 256>, kSlices>;

constexpr CrcTables make_crc_tables() {
  CrcTables tables{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0u);
    tables[0][i] = crc;
  }
  for (std::size_t k = 1; k < kSlices; ++k)
    for (std::size_t i = 0; i < 256; ++i) tables[k][i] = tables[k - 1][i] >> 8 ^ tables[0][tables[k - 1][i] & 255];
  return tables;
}

constexpr CrcTables kCrc = make_crc_tables();

// CRC-32 (ISO-HDLC) of what `crc` is of, and some bytes behind it.
std::uint32_t crc32(const std::uint8_t* bytes, std::size_t size, std::uint32_t crc = 0) {
  crc = ~crc;
  for (; size >= kSlices; size -= kSlices, bytes += kSlices) {
    const std::uint32_t low = read_u32(bytes) ^ crc, high = read_u32(bytes + 4);
    crc = kCrc[7][low & 255] ^ kCrc[6][low >> 8 & 255] ^ kCrc[5][low >> 16 & 255] ^ kCrc[4][low >> 24] ^
          kCrc[3][high & 255] ^ kCrc[2][high >> 8 & 255] ^ kCrc[1][high >> 16 & 255] ^ kCrc[0][high >> 24];
  }
  for (; size > 0; --size) crc = crc >> 8 ^ kCrc[0][(crc ^ *bytes++) & 255];
  return ~crc;
}

void check_crc(const std::string& name, std::uint32_t actual, const std::uint8_t* place) {
  const std::uint32_t expected = read_u32(place);
  if (actual != expected)
    fail(AECODEC_BAD_FILE, name + " is damaged: CRC-32 " + hex(actual, 8) + ", expected " + hex(expected, 8));
}

std::uint16_t read_u16(const std::uint8_t* bytes) { return static_cast<std::uint16_t>(bytes[0] | bytes[1] << 8); }

// REQUIRES: the file has flags.
std::size_t header_size(Bytes file) { return kHeaderSize + (file.data[5] & kConstantAlphaFlag ? 1 : 0); }

// Goes through the sections of a file whose header is sound.
class Sections {
 public:
  explicit Sections(Bytes file) : file_(file), place_(header_size(file)) {}

  bool next() {
    if (place_ == file_.size) return false;
    front_ = file_.data + place_;
    const std::size_t left = file_.size - place_;
    if (left < kSectionSize)
      fail(AECODEC_TRUNCATED, "file is cut off: section header needs " + std::to_string(kSectionSize) + " bytes, got " + std::to_string(left));
    kind = front_[0];
    payload = {front_ + kSectionSize, read_u32(front_ + 1)};
    if (left - kSectionSize < payload.size)
      fail(AECODEC_TRUNCATED, "file is cut off: " + name() + " needs " + std::to_string(payload.size) + " bytes, got " +
                                  std::to_string(left - kSectionSize));
    place_ += kSectionSize + payload.size;
    return true;
  }

  void check() const {
    check_crc(name(), crc32(payload.data, payload.size, crc32(front_, kFrontSize)), front_ + kFrontSize);
  }

  std::string name() const { return "section 0x" + hex(kind, 2); }

  std::uint8_t kind = 0;
  Bytes payload;

 private:
  Bytes file_;
  std::size_t place_;  // never beyond the end
  const std::uint8_t* front_ = nullptr;
};

bool is_tile(std::uint8_t kind) { return kind == kTile || kind == kDrawn; }

bool is_known(std::uint8_t kind) { return kind == kAlpha || (kind >= kIcc && kind <= kDigest); }

void check_density(Bytes payload) {
  if (payload.size != 8 || read_u32(payload.data) == 0 || read_u32(payload.data + 4) == 0)
    fail(AECODEC_BAD_FILE, "density section is " + hex_bytes(payload.data, std::min<std::size_t>(payload.size, 8)) +
                               ", not two positive numbers of 4 bytes");
}

void check_alpha(const Header& header, bool found, Bytes alpha) {
  if ((header.alpha && header.constant_alpha < 0) != found)
    fail(AECODEC_BAD_FILE, "alpha flag is " + std::to_string(header.alpha) + ", alpha sections are " + std::to_string(found));
  if (found && alpha.size == 1) fail(AECODEC_BAD_FILE, "alpha of one byte is not in the header");
}

Tile read_drawn(Bytes payload, const Box& box) {
  const std::size_t left = payload.size - std::min(payload.size, kDrawnFront);
  const std::size_t length = left ? read_u32(payload.data + 1) : 0;
  if (length < 1 || length > left)
    fail(AECODEC_BAD_FILE, "drawn pixels of a tile are " + std::to_string(length) + " bytes of " + std::to_string(left));
  const int step = payload.data[0];
  if (step % 2 == 0 || step > kMaxStep)
    fail(AECODEC_BAD_FILE, "step of drawn pixels is " + std::to_string(step) + ", not odd in 1.." + std::to_string(kMaxStep));
  const Tile tile{{payload.data + kDrawnFront + length, left - length}, {payload.data + kDrawnFront, length}, step};
  check_webp(tile.drawn, box, "drawn part");
  return tile;
}

// REQUIRES: there is a tile i.
Tile read_tile(std::uint8_t kind, Bytes payload, const Header& header, std::size_t i) {
  const Tile tile = kind == kDrawn ? read_drawn(payload, header.tile_box(i).intersection(header.bounds())) : Tile{payload, {}, 1};
  if (!header.model_id && (kind == kTile || tile.stream.size))
    fail(AECODEC_BAD_FILE, "a tile has a stream, and the header names no weights");
  return tile;
}

}  // namespace

std::uint32_t read_u32(const std::uint8_t* bytes) {
  return std::uint32_t{bytes[0]} | std::uint32_t{bytes[1]} << 8 | std::uint32_t{bytes[2]} << 16 |
         std::uint32_t{bytes[3]} << 24;
}

Box Header::tile_box(std::size_t i) const {
  const std::size_t columns = static_cast<std::size_t>(tile_columns());
  const auto left = static_cast<std::int32_t>(i % columns) * tile_side();
  const auto top = static_cast<std::int32_t>(i / columns) * tile_side();
  return Box{left, top, left + tile_side(), top + tile_side()}.intersection(padded());
}

Header read_header(Bytes file, std::uint64_t max_pixels) {
  const std::uint8_t* data = file.data;
  const std::size_t magic = std::min(file.size, kMagic.size());
  if (!std::equal(data, data + magic, kMagic.begin()))
    fail(AECODEC_BAD_FILE, "not an .aec file: starts with " + hex_bytes(data, magic) + ", not " +
                               hex_bytes(kMagic.data(), kMagic.size()));
  if (file.size > 4 && data[4] != kFormatVersion)
    fail(AECODEC_UNSUPPORTED,
         "format version " + std::to_string(data[4]) + ", this aecodec reads version " + std::to_string(kFormatVersion));
  if (file.size < kHeaderSize || file.size < header_size(file))
    fail(AECODEC_TRUNCATED, "file is cut off: header needs " + std::to_string(file.size < kHeaderSize ? kHeaderSize : kHeaderSize + 1) +
                                " bytes, got " + std::to_string(file.size));
  const std::size_t end = header_size(file) - kCrcSize;
  check_crc("header", crc32(data, end), data + end);

  const std::uint8_t flags = data[5];
  if (flags & ~kFlags)
    fail(AECODEC_UNSUPPORTED, "header flags 0x" + hex(flags, 2) + ", this aecodec knows 0x" + hex(kFlags, 2));
  if (flags & kAlphaFlag && flags & kConstantAlphaFlag)
    fail(AECODEC_BAD_FILE, "header flags 0x" + hex(flags, 2) + " set two kinds of alpha");
  Header header;
  header.level = read_u16(data + 6);
  header.width = read_u16(data + 8);
  header.height = read_u16(data + 10);
  header.model_id = read_u32(data + 12);
  header.tile = data[16];
  header.gray = flags & kGrayFlag;
  header.alpha = flags & (kAlphaFlag | kConstantAlphaFlag);
  if (flags & kConstantAlphaFlag) header.constant_alpha = data[kFixedSize];
  const std::uint64_t pixels = std::uint64_t(header.width) * std::uint64_t(header.height);
  if (pixels == 0 || pixels > max_pixels)
    fail(pixels ? AECODEC_TOO_LARGE : AECODEC_BAD_FILE, "picture of " + std::to_string(header.width) + "x" +
                                                            std::to_string(header.height) + " is outside 1.." +
                                                            std::to_string(max_pixels) + " pixels");
  if ((header.level < kMinLevel || header.level > kMaxLevel) && (header.level || header.model_id))
    fail(AECODEC_BAD_FILE, "quality level " + std::to_string(header.level) + " is outside " +
                               std::to_string(kMinLevel) + ".." + std::to_string(kMaxLevel));
  if (header.tile < 1 || header.tile > kMaxTile)
    fail(AECODEC_BAD_FILE,
         "tile side " + std::to_string(header.tile) + " is outside 1.." + std::to_string(kMaxTile));
  return header;
}

Container unpack(Bytes file, const Header& header, const Box& area) {
  const std::size_t count = header.tile_count();
  const std::string tiles = std::to_string(count) + " tiles";
  if ((file.size - kHeaderSize) / kMinTileSize < count)
    fail(AECODEC_TRUNCATED, tiles + " need at least " + std::to_string(kHeaderSize + count * kMinTileSize) +
                                " bytes, got " + std::to_string(file.size));
  Container container{header, {}, {}};
  container.tiles.reserve(count);
  std::array<bool, 256> seen{};
  std::size_t found = 0;  // tiles; more than there should be are counted and not kept
  for (Sections sections(file); sections.next();) {
    const std::uint8_t kind = sections.kind;
    if (is_tile(kind) && found < count && header.tile_box(found).intersection(area).empty()) {
      container.tiles.emplace_back();
      ++found;
      continue;
    }
    sections.check();
    if (is_tile(kind)) {
      if (found < count) container.tiles.push_back(read_tile(kind, sections.payload, header, found));
      ++found;
      continue;
    }
    if (!is_known(kind) && !(kind & kAncillary))
      fail(AECODEC_UNSUPPORTED, "unknown critical section 0x" + hex(kind, 2));
    if (found) fail(AECODEC_BAD_FILE, sections.name() + " after the first tile");
    if (!is_known(kind)) continue;
    if (seen[kind]) fail(AECODEC_BAD_FILE, sections.name() + " appears twice");
    seen[kind] = true;
    if (kind == kAlpha) container.alpha = sections.payload;
    if (kind == kDensity) check_density(sections.payload);
  }
  check_alpha(header, seen[kAlpha], container.alpha);
  if (found < count) fail(AECODEC_TRUNCATED, "picture needs " + tiles + ", got " + std::to_string(found));
  if (found > count) fail(AECODEC_BAD_FILE, "picture has " + tiles + ", got " + std::to_string(found));
  return container;
}

std::vector<std::uint8_t> pack(const Header& header, const std::vector<std::vector<std::uint8_t>>& streams) {
  std::vector<std::uint8_t> file(kMagic.begin(), kMagic.end());
  const auto put = [&](std::uint32_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) file.push_back(static_cast<std::uint8_t>(value >> (8 * i)));
  };
  put(kFormatVersion, 1);
  put(header.gray ? kGrayFlag : 0, 1);
  for (const int value : {header.level, header.width, header.height}) put(static_cast<std::uint32_t>(value), 2);
  put(header.model_id, 4);
  put(static_cast<std::uint32_t>(header.tile), 1);
  put(crc32(file.data(), file.size()), 4);
  for (const auto& stream : streams) {
    const std::size_t front = file.size();
    put(kTile, 1);
    put(static_cast<std::uint32_t>(stream.size()), 4);
    put(crc32(stream.data(), stream.size(), crc32(file.data() + front, kFrontSize)), 4);
    file.insert(file.end(), stream.begin(), stream.end());
  }
  return file;
}

Bytes find_section(Bytes file, SectionKind kind) {
  for (Sections sections(file); sections.next() && !is_tile(sections.kind);) {
    if (sections.kind != kind) continue;
    sections.check();
    if (kind == kDensity) check_density(sections.payload);
    return sections.payload;
  }
  return {};
}

}  // namespace aecodec
