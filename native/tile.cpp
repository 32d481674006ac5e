// SPDX-License-Identifier: Apache-2.0

#include "tile.hpp"

#include <algorithm>
#include <cstdlib>
#include <stdexcept>
#include <string>

#include "error.hpp"
#include "index.hpp"

namespace aecodec {
namespace {

constexpr std::size_t kAnchors = 8;
constexpr int kZLimit = 127;           // z symbols are -kZLimit..kZLimit
constexpr int kMinLevel = 100, kSpan = 9900;
constexpr std::size_t kVector = 16;    // numbers that products are rounded up to
constexpr std::size_t kCells = kSide * kSide;  // positions of y in one of z
constexpr std::size_t kMaxChannels = 4096;     // of z and of y: far above any model

[[noreturn]] void fail(const std::string& text) { throw Error(AECODEC_BAD_WEIGHTS, "not an aecodec weights file: " + text); }

// Rows whose sums of products with z stay below 2^24.
void check_exact(const std::int8_t* weight, std::size_t rows, std::size_t columns, const std::string& name) {
  for (std::size_t row = 0; row < rows; ++row) {
    std::int64_t sum = 0;
    for (std::size_t i = 0; i < columns; ++i) sum += std::abs(int{weight[row * columns + i]});
    if (sum * kZLimit >= 1 << 24) fail(name + " exceeds the exact range");
  }
}

void check_shape(const std::string& name, const ArrayView& array, const std::vector<std::size_t>& shape) {
  if (array.shape != shape) fail(name + " does not fit");
}

Tables read_tables(const Weights& weights) {
  const ArrayView& cumulative = weights.get("tables.cumulative", Type::kI32, 1);
  const ArrayView& lengths = weights.get("tables.lengths", Type::kI32, 1);
  const ArrayView& offsets = weights.get("tables.offsets", Type::kI32, 1);
  check_shape("tables.offsets", offsets, lengths.shape);
  try {
    return {cumulative.i32(), cumulative.size(), lengths.i32(), offsets.i32(), lengths.size()};
  } catch (const std::invalid_argument& error) {
    fail(std::string("unusable entropy tables: ") + error.what());
  }
}

}  // namespace

Prior::Prior(const Weights& weights) : tables_(read_tables(weights)) {
  const ArrayView& weight = weights.get("prior.weight", Type::kI8, 2);
  const ArrayView& multiplier = weights.get("prior.multiplier", Type::kI32, 1);
  const ArrayView& bias = weights.get("prior.bias", Type::kI32, 2);
  const ArrayView& shift = weights.get("prior.shift", Type::kI32, 1);
  const std::size_t rows = weight.shape[0];
  N_ = weight.shape[1];
  M_ = rows / kCells;
  if (!N_ || N_ > kMaxChannels || !M_ || M_ > kMaxChannels || rows % kCells)
    fail("prior.weight is [" + std::to_string(rows) + ", " + std::to_string(N_) + "]");
  check_shape("prior.multiplier", multiplier, {rows});
  check_shape("prior.bias", bias, {kAnchors, rows});
  check_shape("prior.shift", shift, {1});
  check_exact(weight.i8(), rows, N_, "prior.weight");
  shift_ = *shift.i32();
  if (shift_ < 1 || shift_ > 31) fail("prior.shift " + std::to_string(shift_) + " is outside 1..31");
  pitch_ = (N_ + kVector - 1) / kVector * kVector;
  weight_.resize(rows * pitch_);
  for (std::size_t row = 0; row < rows; ++row)
    std::copy_n(weight.i8() + row * N_, N_, weight_.begin() + static_cast<std::ptrdiff_t>(row * pitch_));
  multiplier_.assign(multiplier.i32(), multiplier.i32() + rows);
  bias_.assign(bias.i32(), bias.i32() + bias.size());
  read_context(weights);
  const std::size_t needed = sets_ * N_ * choices_ + kScales;
  if (tables_.size() != needed)
    fail("it holds " + std::to_string(tables_.size()) + " tables, not " + std::to_string(needed));
}

void Prior::read_context(const Weights& weights) {
  sets_ = kAnchors;
  choices_ = 1;
  if (!weights.has("context.weight") && !weights.has("context.thresholds")) return;
  const ArrayView& weight = weights.get("context.weight", Type::kI8, 3);
  const ArrayView& thresholds = weights.get("context.thresholds", Type::kI32, 3);
  sets_ = weight.shape[0];
  choices_ = thresholds.shape[2] + 1;
  if (sets_ < 2 || sets_ > tables_.size() || choices_ > tables_.size()) fail("context.weight does not fit");
  check_shape("context.weight", weight, {sets_, N_, 2 * (N_ + 1)});
  check_shape("context.thresholds", thresholds, {sets_, N_, choices_ - 1});
  check_exact(weight.i8(), sets_ * N_, 2 * (N_ + 1), "context.weight");
  context_.resize(2 * sets_ * N_ * pitch_);
  for (std::size_t part = 0; part < 2 * sets_ * N_; ++part) {
    const std::int8_t* from = weight.i8() + part * (N_ + 1);
    std::copy_n(from, N_, context_.begin() + static_cast<std::ptrdiff_t>(part * pitch_));
    context_ones_.push_back(from[N_]);
  }
  thresholds_.assign(thresholds.i32(), thresholds.i32() + thresholds.size());
}

std::vector<float> Prior::bits(int reach) const {
  const std::size_t first = tables_.size() - kScales, width = 2 * static_cast<std::size_t>(reach) + 1;
  std::vector<float> bits(kScales * width);
  for (std::size_t i = kSkipped * width; i < bits.size(); ++i)
    bits[i] = static_cast<float>(tables_.bits(first + i / width, static_cast<int>(i % width) - reach));
  return bits;
}

TileCoder::TileCoder(const Prior& prior, int level) : prior_(prior), bias_(kCells * prior.M_) {
  const std::int64_t last_set = static_cast<std::int64_t>(prior.sets_) - 1;
  set_ = static_cast<std::size_t>((2 * last_set * (level - kMinLevel) + kSpan) / (2 * kSpan));
  const int place = static_cast<int>(kAnchors - 1) * (level - kMinLevel);
  const int low = std::min(place / kSpan, static_cast<int>(kAnchors) - 2);
  const std::int64_t part = place - kSpan * low;
  const std::int32_t* here = prior.bias_.data() + static_cast<std::size_t>(low) * bias_.size();
  for (std::size_t o = 0; o < bias_.size(); ++o) {
    const std::int64_t sum = here[o] * (kSpan - part) + here[bias_.size() + o] * part;
    bias_[o] = sum / kSpan - (sum % kSpan < 0);
  }
}

void TileCoder::read(Bytes stream, std::size_t rows, std::size_t columns, Planes<std::int8_t> z,
                     Planes<std::int16_t> y) const {
  try {
    Decoder decoder(stream.data, stream.size);
    std::vector<std::int16_t> z_symbols(rows * columns * prior_.pitch_);
    std::vector<Symbol> symbols;
    each_z(rows, columns, z_symbols.data(), [&](const std::vector<Index>& tables, const std::vector<std::int16_t*>& places) {
      symbols.resize(tables.size());
      decoder.decode(tables.data(), tables.size(), prior_.tables_, symbols.data());
      const Symbol* symbol = symbols.data();
      for (std::size_t c = 0; c < prior_.N_; ++c)
        for (std::int16_t* place : places) {
          if (*symbol < -kZLimit || *symbol > kZLimit) throw Error(AECODEC_BAD_FILE, "z symbol is outside -127..127");
          place[c] = *symbol++;
        }
    });
    for (std::size_t c = 0; c < prior_.N_; ++c)
      for (std::size_t i = 0; i < rows; ++i)
        for (std::size_t j = 0; j < columns; ++j)
          z.data[c * z.plane + i * z.row + j] = static_cast<std::int8_t>(z_symbols[(i * columns + j) * prior_.pitch_ + c]);
    std::vector<Index> tables(kCells * rows * columns);
    symbols.resize(tables.size());
    each_y(rows, columns, z_symbols.data(), [&](std::size_t channel, const std::vector<std::uint8_t>& index) {
      std::size_t coded = 0;
      for (const std::uint8_t one : index) {
        tables[coded] = static_cast<Index>(first_table() + one);
        coded += one >= kSkipped;
      }
      decoder.decode(tables.data(), coded, prior_.tables_, symbols.data());
      const Symbol* symbol = symbols.data();
      const std::uint8_t* one = index.data();
      for (std::size_t i = 0; i < kSide * rows; ++i) {
        std::int16_t* line = y.data + channel * y.plane + i * y.row;
        for (std::size_t j = 0; j < kSide * columns; ++j) {
          const bool is_coded = *one++ >= kSkipped;
          line[j] = is_coded ? *symbol : std::int16_t{0};
          symbol += is_coded;
        }
      }
    });
    decoder.finish();
  } catch (const EndError& error) {
    throw Error(AECODEC_TRUNCATED, error.what());
  } catch (const StreamError& error) {
    throw Error(AECODEC_BAD_FILE, error.what());
  }
}

std::vector<std::uint8_t> TileCoder::write(std::size_t rows, std::size_t columns, Planes<const std::int8_t> z,
                                           Planes<const std::int16_t> y) const {
  std::vector<std::int16_t> z_symbols = packed(rows, columns, z);
  std::vector<Symbol> symbols;
  std::vector<Index> tables;
  each_z(rows, columns, z_symbols.data(), [&](const std::vector<Index>& chosen, const std::vector<std::int16_t*>& places) {
    tables.insert(tables.end(), chosen.begin(), chosen.end());
    for (std::size_t c = 0; c < prior_.N_; ++c)
      for (const std::int16_t* place : places) symbols.push_back(place[c]);
  });
  each_y(rows, columns, z_symbols.data(), [&](std::size_t channel, const std::vector<std::uint8_t>& index) {
    const std::uint8_t* one = index.data();
    for (std::size_t i = 0; i < kSide * rows; ++i) {
      const std::int16_t* line = y.data + channel * y.plane + i * y.row;
      for (std::size_t j = 0; j < kSide * columns; ++j, ++one) {
        if (*one < kSkipped) continue;
        symbols.push_back(line[j]);
        tables.push_back(static_cast<Index>(first_table() + *one));
      }
    }
  });
  return encode(symbols.data(), tables.data(), symbols.size(), prior_.tables_);
}

void TileCoder::index(std::size_t rows, std::size_t columns, Planes<const std::int8_t> z, Planes<std::uint8_t> index) const {
  const std::vector<std::int16_t> z_symbols = packed(rows, columns, z);
  each_y(rows, columns, z_symbols.data(), [&](std::size_t channel, const std::vector<std::uint8_t>& of_channel) {
    const std::size_t width = kSide * columns;
    for (std::size_t i = 0; i < kSide * rows; ++i)
      std::copy_n(of_channel.data() + i * width, width, index.data + channel * index.plane + i * index.row);
  });
}

std::vector<std::int16_t> TileCoder::packed(std::size_t rows, std::size_t columns, Planes<const std::int8_t> z) const {
  std::vector<std::int16_t> symbols(rows * columns * prior_.pitch_);
  for (std::size_t c = 0; c < prior_.N_; ++c)
    for (std::size_t i = 0; i < rows; ++i)
      for (std::size_t j = 0; j < columns; ++j)
        symbols[(i * columns + j) * prior_.pitch_ + c] = z.data[c * z.plane + i * z.row + j];
  return symbols;
}

template <typename Code>
void TileCoder::each_z(std::size_t rows, std::size_t columns, std::int16_t* z, const Code& code) const {
  const std::size_t N = prior_.N_, pitch = prior_.pitch_;
  std::vector<Index> tables;
  std::vector<std::int16_t*> places;
  if (prior_.context_.empty()) {
    for (std::size_t i = 0; i < rows * columns; ++i) places.push_back(z + i * pitch);
    for (std::size_t c = 0; c < N; ++c) tables.insert(tables.end(), places.size(), static_cast<Index>(set_ * N + c));
    return code(tables, places);
  }
  for (std::size_t diagonal = 0; diagonal < rows + columns - 1; ++diagonal) {
    const std::size_t first = diagonal < columns ? 0 : diagonal - columns + 1, end = std::min(rows, diagonal + 1);
    places.clear();
    tables.resize(N * (end - first));
    for (std::size_t i = first; i < end; ++i) {
      std::int16_t* place = z + (i * columns + diagonal - i) * pitch;
      choose(i < diagonal ? place - pitch : nullptr, i ? place - columns * pitch : nullptr, tables.data() + i - first,
             end - first);
      places.push_back(place);
    }
    code(tables, places);
  }
}

// The table of each channel at one place, from what stands beside it; nullptr outside the tile.
void TileCoder::choose(const std::int16_t* left, const std::int16_t* above, Index* tables, std::size_t step) const {
  const std::size_t N = prior_.N_, pitch = prior_.pitch_, cuts = prior_.choices_ - 1;
  for (std::size_t c = 0; c < N; ++c) {
    const std::size_t row = set_ * N + c;
    const std::int16_t* weight = prior_.context_.data() + 2 * row * pitch;
    const std::int16_t* ones = prior_.context_ones_.data() + 2 * row;
    const std::int32_t sum = (left ? dot(weight, left, pitch) + ones[0] : 0) +
                             (above ? dot(weight + pitch, above, pitch) + ones[1] : 0);
    const std::int32_t* thresholds = prior_.thresholds_.data() + row * cuts;
    const auto k = std::count_if(thresholds, thresholds + cuts, [&](std::int32_t threshold) { return threshold <= sum; });
    tables[c * step] = static_cast<Index>(row * prior_.choices_ + static_cast<std::size_t>(k));
  }
}

template <typename Code>
void TileCoder::each_y(std::size_t rows, std::size_t columns, const std::int16_t* z, const Code& code) const {
  const std::size_t pitch = prior_.pitch_, count = rows * columns;
  std::vector<std::int32_t> sums(kCells * count);
  std::vector<std::uint8_t> index(kCells * count);
  for (std::size_t channel = 0; channel < prior_.M_; ++channel) {
    const std::size_t first = channel * kCells;
    products(prior_.weight_.data() + first * pitch, kCells, z, count, pitch, sums.data());
    table_index(sums.data(), prior_.multiplier_.data() + first, bias_.data() + first, prior_.shift_, 1, rows, columns,
                index.data());
    code(channel, index);
  }
}

}  // namespace aecodec
