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

// What chooses the tables, and the tables. Copies what it needs.
class Prior {
 public:
  // Throws Error for arrays that do not fit or whose sums might exceed 24 bits.
  explicit Prior(const Weights& weights);

  std::size_t N() const { return N_; }  // channels of z
  std::size_t M() const { return M_; }  // channels of y

 private:
  friend class TileReader;

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

// Reads tiles of one quality. Safe to share between threads.
class TileReader {
 public:
  // The prior must outlive it. REQUIRES: a level of 100..10000.
  TileReader(const Prior& prior, int level);

  // Writes z [N, rows, columns] and y [M, 4 * rows, 4 * columns] of a tile. Throws Error for a stream that no encoder writes.
  void read(Bytes stream, std::size_t rows, std::size_t columns, Planes<std::int8_t> z, Planes<std::int16_t> y) const;

 private:
  // z [rows * columns, pitch]
  void read_z(Decoder& decoder, std::size_t rows, std::size_t columns, std::int16_t* z) const;
  void read_y(Decoder& decoder, std::size_t rows, std::size_t columns, const std::int16_t* z, Planes<std::int16_t> y) const;
  void choose(const std::int16_t* left, const std::int16_t* above, Index* tables, std::size_t step) const;

  const Prior& prior_;
  std::size_t set_;                 // of tables of z
  std::vector<std::int64_t> bias_;  // [16 * M]
};

}  // namespace aecodec
