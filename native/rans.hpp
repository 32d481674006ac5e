// SPDX-License-Identifier: Apache-2.0
//
// rANS coder of integer symbols, byte-compatible with CompressAI's `ans` (which follows ryg_rans, Giesen 2014).
//
// A stream is a sequence of little-endian 32-bit words: the state (low word, high word), then the words in the order
// in which the decoder needs them. The state x is 64 bits wide; between symbols LOWER <= x < 2^63.
//
// Table i is a cumulative distribution c[0] = 0 < c[1] < ... < c[n] = 2^PRECISION over n entries. Entries 0..n-2 are
// the symbols offset..offset+n-2; entry n-1 is the escape, behind which the distance to the table follows in raw
// 4-bit digits.
//
// Everything read is checked against the end, in release builds too; no function here reads or writes past a buffer
// whatever the bytes are.

#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

namespace aecodec {

constexpr unsigned PRECISION = 16;                        // bits of a table: totals are 1 << PRECISION
constexpr std::uint64_t LOWER = std::uint64_t{1} << 31;   // smallest normalized state, also the final one
constexpr unsigned DIGIT_BITS = 4;                        // width of a raw digit behind an escape
constexpr std::uint32_t DIGIT_MAX = (1u << DIGIT_BITS) - 1;
constexpr unsigned MAX_DIGITS = 5;                        // 20 bits hold any distance between 16-bit symbols
constexpr std::size_t STATE_WORDS = 2;
constexpr std::size_t SYMBOL_WORDS = 2;                   // that one symbol can push out of the state
static_assert(PRECISION + (1 + MAX_DIGITS) * DIGIT_BITS <= 32 * SYMBOL_WORDS);

using Symbol = std::int16_t;
using Index = std::uint16_t;

// The bytes are not a stream that encode() can have written for these indexes.
struct StreamError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// The bytes end before the symbols do. Those that were written up to there are right.
struct EndError : StreamError {
  using StreamError::StreamError;
};

// A set of cumulative tables, checked once so that coding needs no checks of them.
class Tables {
 public:
  // `count` tables one behind the other in cumulative[0..total); table i has lengths[i] = number of entries + 1 values.
  Tables(const std::int32_t* cumulative, std::size_t total, const std::int32_t* lengths, const std::int32_t* offsets,
         std::size_t count) {
    if (count > std::size_t{std::numeric_limits<Index>::max()} + 1) throw std::invalid_argument("more than 65536 tables");
    tables_.reserve(count);
    cumulative_.reserve(total);
    for (std::size_t i = 0; i < count; ++i) add(cumulative + cumulative_.size(), total - cumulative_.size(), lengths[i], offsets[i]);
    if (cumulative_.size() != total) throw std::invalid_argument("lengths of tables do not add up");
  }

  std::size_t size() const { return tables_.size(); }

  // What a symbol costs in bits; nearly, for an escape.
  double bits(std::size_t table, int symbol) const {
    const Table& t = tables_.at(table);
    const std::int32_t entry = symbol - t.offset, place = entry < 0 || entry >= t.escape ? t.escape : entry;
    const std::uint32_t* c = &cumulative_[t.start + static_cast<std::size_t>(place)];
    const double bits = PRECISION - std::log2(c[1] - c[0]);
    if (place != t.escape) return bits;
    const double digits = std::ceil(std::log2(2 * std::abs(symbol) + 2) / DIGIT_BITS);
    return bits + (DIGIT_BITS * digits + DIGIT_BITS);
  }

 private:
  friend std::vector<std::uint8_t> encode(const Symbol*, const Index*, std::size_t, const Tables&);
  friend class Decoder;

  struct Table {
    std::size_t start;       // of this table in cumulative_
    std::int32_t escape;     // index of its last entry
    std::int32_t offset;     // symbol of its entry 0
    std::array<std::uint16_t, 256> first;  // entry that holds the value high << 8: where the search starts
  };

  void add(const std::int32_t* cdf, std::size_t left, std::int32_t length, std::int32_t offset) {
    const std::string where = "table " + std::to_string(tables_.size());
    if (length < 2 || static_cast<std::size_t>(length) > left) throw std::invalid_argument(where + ": bad length");
    if (offset < std::numeric_limits<Symbol>::min() || offset > std::numeric_limits<Symbol>::max() - length)
      throw std::invalid_argument(where + ": bad offset");
    if (cdf[0] != 0 || cdf[length - 1] != 1 << PRECISION) throw std::invalid_argument(where + ": bad total");
    for (std::int32_t k = 1; k < length; ++k)
      if (cdf[k] <= cdf[k - 1]) throw std::invalid_argument(where + ": not increasing");
    Table table{cumulative_.size(), length - 2, offset, {}};
    std::uint16_t entry = 0;
    for (std::int32_t high = 0; high < 256; ++high) {
      while (cdf[entry + 1] <= high << 8) ++entry;
      table.first[static_cast<std::size_t>(high)] = entry;
    }
    cumulative_.insert(cumulative_.end(), cdf, cdf + length);
    tables_.push_back(table);
  }

  std::vector<Table> tables_;
  std::vector<std::uint32_t> cumulative_;
};

// Digits behind an escape: value 2d for a distance d above the table, 2d - 1 for d below it.
struct Escape {
  std::uint32_t value;
  unsigned digits;  // number of 4-bit digits of value, 0 for 0

  static Escape of(std::int32_t entry, std::int32_t escape) {
    const std::int32_t value = entry < 0 ? -2 * entry - 1 : 2 * (entry - escape);
    Escape result{static_cast<std::uint32_t>(value), 0};
    while (result.value >> (DIGIT_BITS * result.digits) != 0) ++result.digits;
    return result;
  }

  std::int32_t entry(std::int32_t escape) const {
    const auto half = static_cast<std::int32_t>(value >> 1);
    return value & 1 ? -half - 1 : half + escape;
  }
};

// The bytes of `count` symbols, symbol i coded with table indexes[i]. REQUIRES: indexes[i] < tables.size(); checked.
inline std::vector<std::uint8_t> encode(const Symbol* symbols, const Index* indexes, std::size_t count,
                                        const Tables& tables) {
  std::vector<std::uint32_t> words(count / 4 + 64);
  std::size_t used = 0;
  std::uint64_t x = LOWER;
  const auto put = [&](std::uint64_t start, std::uint64_t frequency, unsigned bits) {
    if (x >= ((LOWER >> bits) << 32) * frequency) {
      words[used++] = static_cast<std::uint32_t>(x);
      x >>= 32;
    }
    x = ((x / frequency) << bits) + x % frequency + start;
  };
  const auto put_digit = [&](std::uint32_t digit) { put(digit, 1, DIGIT_BITS); };

  for (std::size_t i = count; i-- > 0;) {  // last in, first out
    if (words.size() - used < SYMBOL_WORDS + STATE_WORDS) words.resize(2 * words.size());
    if (indexes[i] >= tables.size()) throw std::invalid_argument("table index out of range");
    const Tables::Table& table = tables.tables_[indexes[i]];
    std::int32_t entry = symbols[i] - table.offset;
    if (entry < 0 || entry >= table.escape) {
      const Escape escape = Escape::of(entry, table.escape);
      for (unsigned digit = escape.digits; digit-- > 0;)
        put_digit((escape.value >> (DIGIT_BITS * digit)) & DIGIT_MAX);
      put_digit(escape.digits);  // MAX_DIGITS < DIGIT_MAX, so the count is one digit
      entry = table.escape;
    }
    const std::uint32_t* c = &tables.cumulative_[table.start + static_cast<std::size_t>(entry)];
    put(c[0], c[1] - c[0], PRECISION);
  }
  words[used++] = static_cast<std::uint32_t>(x >> 32);
  words[used++] = static_cast<std::uint32_t>(x);

  std::vector<std::uint8_t> bytes(4 * used);
  for (std::size_t i = 0; i < used; ++i) {
    const std::uint32_t word = words[used - 1 - i];
    for (std::size_t k = 0; k < 4; ++k) bytes[4 * i + k] = static_cast<std::uint8_t>(word >> (8 * k));
  }
  return bytes;
}

// Reads a stream in as many calls as the caller needs to know the indexes.
class Decoder {
 public:
  // The bytes must outlive the decoder.
  Decoder(const std::uint8_t* data, std::size_t size) : next_(data), end_(data + size) {
    if (size % 4 != 0) throw StreamError("entropy-coded data is no whole number of words");
    x_ = word();
    x_ |= std::uint64_t{word()} << 32;
    if (x_ < LOWER || x_ >> 63 != 0) throw StreamError("entropy-coded data starts with an impossible state");
  }

  // Writes symbols[0..count), symbol i read with table indexes[i]. REQUIRES: indexes[i] < tables.size(); checked.
  void decode(const Index* indexes, std::size_t count, const Tables& tables, Symbol* symbols) {
    constexpr std::uint32_t MASK = (1u << PRECISION) - 1;
    for (std::size_t i = 0; i < count; ++i) {
      if (indexes[i] >= tables.size()) throw std::invalid_argument("table index out of range");
      const Tables::Table& table = tables.tables_[indexes[i]];
      const std::uint32_t* c = &tables.cumulative_[table.start];
      const auto value = static_cast<std::uint32_t>(x_) & MASK;
      std::int32_t entry = table.first[value >> 8];
      while (c[entry + 1] <= value) ++entry;  // ends: value < c[last]
      x_ = std::uint64_t{c[entry + 1] - c[entry]} * (x_ >> PRECISION) + value - c[entry];
      refill();
      if (entry == table.escape) entry = read_escape().entry(table.escape);
      const std::int32_t symbol = entry + table.offset;
      if (symbol < std::numeric_limits<Symbol>::min() || symbol > std::numeric_limits<Symbol>::max())
        throw StreamError("entropy-coded symbol exceeds 16 bits");
      symbols[i] = static_cast<Symbol>(symbol);
    }
  }

  // Every sound stream ends in the state that encode() starts from, with no word left.
  void finish() const {
    if (x_ != LOWER || next_ != end_) throw StreamError("entropy-coded data does not end where its symbols end");
  }

 private:
  std::uint32_t word() {
    if (end_ - next_ < 4) throw EndError("entropy-coded data is truncated");
    const std::uint32_t word = std::uint32_t{next_[0]} | std::uint32_t{next_[1]} << 8 | std::uint32_t{next_[2]} << 16 |
                               std::uint32_t{next_[3]} << 24;
    next_ += 4;
    return word;
  }

  void refill() {
    if (x_ < LOWER) x_ = (x_ << 32) | word();
  }

  std::uint32_t digit() {
    const auto digit = static_cast<std::uint32_t>(x_) & DIGIT_MAX;
    x_ >>= DIGIT_BITS;
    refill();
    return digit;
  }

  Escape read_escape() {
    Escape escape{0, digit()};
    if (escape.digits > MAX_DIGITS) throw StreamError("entropy-coded symbol exceeds 16 bits");
    std::uint32_t top = 1;
    for (unsigned k = 0; k < escape.digits; ++k) {
      top = digit();
      escape.value |= top << (DIGIT_BITS * k);
    }
    if (top == 0) throw StreamError("entropy-coded symbol has a leading zero digit");  // encode() writes none
    return escape;
  }

  const std::uint8_t* next_;
  const std::uint8_t* end_;
  std::uint64_t x_;
};

}  // namespace aecodec
