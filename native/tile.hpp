// SPDX-License-Identifier: Apache-2.0
//
// The coded integers of a tile (docs/format.md, sections 2 to 4): integers alone, so that every machine agrees.

#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "container.hpp"
#include "rans.hpp"
#include "weights.hpp"

namespace aecodec {

constexpr std::size_t kScales = 64;   // tables of y, by growing scale
constexpr std::uint8_t kSkipped = 3;  // y symbols of the narrowest tables are 0 and not coded

// What chooses the tables, and the tables. Copies what it needs.
class Prior {
 public:
  // Throws Error for arrays that do not fit or whose sums might exceed 24 bits.
  explicit Prior(const Weights& weights);

  std::size_t N() const { return N_; }  // channels of z
  std::size_t M() const { return M_; }  // channels of y

  // What y symbols -reach..reach cost in bits, nearly for escapes, [kScales, 2 * reach + 1]: for encoders.
  std::vector<float> bits(int reach) const;

 private:
  friend class TileCoder;

  void read_context(const Weights& weights);

  std::size_t N_ = 0, M_ = 0;
  std::size_t pitch_ = 0;                      // N rounded up, so that products are of whole vectors
  std::size_t sets_ = 0, choices_ = 0;         // of tables of z: for levels; of one symbol
  std::vector<std::int16_t> weight_;           // [16 * M, pitch]
  std::vector<std::int32_t> multiplier_;       // [16 * M]
  std::vector<std::int32_t> bias_;             // [8, 16 * M]
  int shift_ = 0;                              // 1..31
  std::vector<std::int16_t> context_;          // [sets, N, 2, pitch]: for left, above; nothing without a context
  std::vector<std::int16_t> context_ones_;     // [sets, N, 2]
  std::vector<std::int32_t> thresholds_;       // [sets, N, choices - 1]
  Tables tables_;                              // of z, then 64 of y
};

// A place in an array [channel, row, column] for the symbols of a tile.
template <typename T>
struct Planes {
  T* data;
  std::size_t plane;  // from one channel to the next
  std::size_t row;    // from one row to the next
};

// Tiles of one quality. Safe to share between threads.
class TileCoder {
 public:
  // The prior must outlive it. REQUIRES: a level of 100..10000.
  TileCoder(const Prior& prior, int level);

  // Reads z [N, rows, columns] and y [M, 4 * rows, 4 * columns] of a tile. Throws Error for a stream that no encoder writes.
  void read(Bytes stream, std::size_t rows, std::size_t columns, Planes<std::int8_t> z, Planes<std::int16_t> y) const;

  // The stream of such a tile. REQUIRES: z of -127..127.
  std::vector<std::uint8_t> write(std::size_t rows, std::size_t columns, Planes<const std::int8_t> z,
                                  Planes<const std::int16_t> y) const;

  // Which of its kScales tables each symbol of y has, [M, 4 * rows, 4 * columns].
  void index(std::size_t rows, std::size_t columns, Planes<const std::int8_t> z, Planes<std::uint8_t> index) const;

 private:
  // z is [rows * columns, pitch] below.
  std::vector<std::int16_t> packed(std::size_t rows, std::size_t columns, Planes<const std::int8_t> z) const;

  // Calls code(tables, places) for the places of z that are coded together: tables of each channel, [N, places].
  template <typename Code>
  void each_z(std::size_t rows, std::size_t columns, std::int16_t* z, const Code& code) const;
  // Calls code(channel, index) for each channel of y: the tables of its symbols, row by row.
  template <typename Code>
  void each_y(std::size_t rows, std::size_t columns, const std::int16_t* z, const Code& code) const;

  void choose(const std::int16_t* left, const std::int16_t* above, Index* tables, std::size_t step) const;
  Index first_table() const { return static_cast<Index>(prior_.tables_.size() - kScales); }  // of y

  const Prior& prior_;
  std::size_t set_;                 // of tables of z
  std::vector<std::int64_t> bias_;  // [16 * M]
};

}  // namespace aecodec
