// SPDX-License-Identifier: Apache-2.0
//
// The layers of section 6 of docs/format.md: arrays by name, checked and packed for a kernel.

#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "array.hpp"
#include "kernels/kernel.hpp"

namespace aecodec {

constexpr std::size_t kAnchors = 8;
constexpr int kMinLevel = 100, kMaxLevel = 10000;
constexpr int kSpread = kMaxLevel - kMinLevel;  // levels between the first and the last anchor
constexpr std::int32_t kMaxGain = 30 * 65536;

// Memory for numbers that begin at a cache line, are 0 at first, and have kSlack behind their end.
class Arena {
 public:
  template <typename T>
  T* take(std::size_t count) {
    constexpr std::size_t kLine = 64;
    std::size_t space = (count + kSlack) * sizeof(T) + kLine;
    parts_.push_back(std::make_unique<unsigned char[]>(space));
    void* start = parts_.back().get();
    return static_cast<T*>(std::align(kLine, (count + kSlack) * sizeof(T), start, space));
  }

 private:
  std::vector<std::unique_ptr<unsigned char[]>> parts_;
};

// Hands out arrays by name, checked; finish() tells whether there were others.
class Reader {
 public:
  explicit Reader(const Arrays& arrays) : arrays_(arrays) {}

  std::size_t rows(const std::string& name) const {
    const ArrayView& array = find(name);
    if (array.shape.empty() || array.shape[0] == 0) fail(name, "has no rows");
    return array.shape[0];
  }

  std::size_t columns(const std::string& name) const {
    const ArrayView& array = find(name);
    if (array.shape.size() != 2 || array.shape[1] == 0) fail(name, "has no columns");
    return array.shape[1];
  }

  bool has(const std::string& name) const { return arrays_.count(name) != 0; }

  const std::int16_t* i16(const std::string& name, const std::vector<std::size_t>& shape) {
    return check(name, Type::kI16, shape).i16();
  }
  const std::int32_t* i32(const std::string& name, const std::vector<std::size_t>& shape) {
    return check(name, Type::kI32, shape).i32();
  }
  const float* f32(const std::string& name, const std::vector<std::size_t>& shape) {
    return check(name, Type::kF32, shape).f32();
  }

  void finish() const {
    for (const auto& [name, array] : arrays_)
      if (used_.count(name) == 0) fail(name, "is not known");
  }

  [[noreturn]] static void fail(const std::string& name, const std::string& what) {
    throw std::invalid_argument("array " + name + " " + what);
  }

 private:
  const ArrayView& find(const std::string& name) const {
    const auto found = arrays_.find(name);
    if (found == arrays_.end()) fail(name, "is missing");
    return found->second;
  }

  const ArrayView& check(const std::string& name, Type type, const std::vector<std::size_t>& shape) {
    const ArrayView& array = find(name);
    if (array.type != type) fail(name, std::string("is not of type ") + type_name(type));
    if (array.shape != shape) fail(name, "is " + text(array.shape) + ", not " + text(shape));
    used_.insert(name);
    return array;
  }

  static const char* type_name(Type type) {
    return type == Type::kI16 ? "int16" : type == Type::kI32 ? "int32" : "float32";
  }

  static std::string text(const std::vector<std::size_t>& shape) {
    std::string list;
    for (const std::size_t side : shape) list += (list.empty() ? "" : ", ") + std::to_string(side);
    return "[" + list + "]";
  }

  const Arrays& arrays_;
  std::set<std::string> used_;
};

// Which rows of a layer's weight stand where in its packed form, and which inputs of them.
struct Order {
  std::size_t groups = 1;
  std::size_t shuffle = 1;               // k^2 of S(k): outputs stand shuffled, channel by channel within each place
  std::size_t first = 0, outputs = 0;    // a part of the outputs, all if 0
  std::vector<std::size_t> columns = {};  // inputs, all if empty
};

struct Source {
  std::size_t outputs, inputs;  // of the array
  const std::int16_t* weight;
  const std::int32_t* bias;
  const std::int32_t* multiplier;  // may be missing
  std::size_t multipliers;         // 1 for all outputs, or `outputs`
  std::int32_t shift, fraction;
};

class Packer {
 public:
  Packer(Reader& reader, const Kernel& kernel, Arena& arena) : reader_(reader), kernel_(kernel), arena_(arena) {}

  // A layer whose array has `row` inputs for each output. Checks all that section 6 asks for.
  Source source(const std::string& name, std::size_t outputs, std::size_t row, std::size_t multipliers) {
    Source s{outputs, row, reader_.i16(name + ".weight", {outputs, row}), reader_.i32(name + ".bias", {outputs}), nullptr,
             multipliers, 0, 0};
    const std::int32_t* format = reader_.i32(name + ".format", {2});
    s.shift = format[0];
    s.fraction = format[1];
    if (s.shift < 1 || s.shift > 62) Reader::fail(name + ".format", "has a shift of " + std::to_string(s.shift) + ", not 1..62");
    if (s.fraction < 0 || s.fraction > 15)
      Reader::fail(name + ".format", "has a fraction of " + std::to_string(s.fraction) + ", not 0..15");
    if (multipliers != 0) s.multiplier = reader_.i32(name + ".multiplier", {multipliers});
    for (std::size_t o = 0; o < multipliers; ++o)
      if (s.multiplier[o] < 0) Reader::fail(name + ".multiplier", "is negative at " + std::to_string(o));
    for (std::size_t o = 0; o < outputs; ++o) {
      std::int64_t bound = 0;
      for (std::size_t c = 0; c < row; ++c) bound += std::abs(std::int64_t{s.weight[o * row + c]});
      bound = 32767 * bound + std::abs(std::int64_t{s.bias[o]});
      if (bound >> 31 != 0) Reader::fail(name + ".weight", "has sums beyond 32 bits in row " + std::to_string(o));
    }
    return s;
  }

  Layer pack(const Source& s, const Order& order = {}) {
    const std::size_t outputs = order.outputs != 0 ? order.outputs : s.outputs;
    const std::size_t inputs = order.columns.empty() ? s.inputs : order.columns.size();
    const std::size_t channels = outputs / order.shuffle, width = channels / order.groups;
    const std::size_t merged = order.groups == 1 ? 1 : order.shuffle;  // without groups, all is one block
    const std::size_t size = order.groups == 1 ? outputs : width;
    auto* blocks = arena_.take<Block>(merged * order.groups);
    const std::size_t panel = padded(size) * depth(inputs);
    auto* weight = arena_.take<std::int16_t>(merged * order.groups * panel);
    auto* bias = arena_.take<std::int32_t>(merged * order.groups * padded(size));
    auto* multiplier = arena_.take<std::int32_t>(merged * order.groups * padded(size));
    for (std::size_t b = 0; b < merged * order.groups; ++b) {
      const std::size_t group = b % order.groups;
      const std::size_t output = b / order.groups * channels + group * width;
      blocks[b] = {group * inputs, inputs, output, size, b * panel, b * padded(size)};
      for (std::size_t i = 0; i < size; ++i) {
        const std::size_t place = output + i;
        const std::size_t row = order.first + place % channels * order.shuffle + place / channels;
        bias[blocks[b].scale + i] = s.bias[row];
        if (s.multiplier != nullptr) multiplier[blocks[b].scale + i] = s.multiplier[s.multipliers == 1 ? 0 : row];
        for (std::size_t k = 0; k < inputs; ++k) {
          const std::size_t column = order.columns.empty() ? k : order.columns[k];
          weight[blocks[b].weight + weight_place(i, k, size, inputs)] = s.weight[row * s.inputs + column];
        }
      }
    }
    return {blocks, merged * order.groups, weight, bias, multiplier, s.shift, s.fraction};
  }

  Layer layer(const std::string& name, std::size_t inputs, std::size_t outputs, Order order = {}) {
    return pack(source(name, outputs, inputs / order.groups, outputs), order);
  }

  Layer depthwise(const std::string& name, std::size_t channels) {
    const Source s = source(name, channels, 9, channels);
    auto* blocks = arena_.take<Block>(1);
    auto* weight = arena_.take<std::int16_t>(9 * padded(channels));
    auto* bias = arena_.take<std::int32_t>(padded(channels));
    auto* multiplier = arena_.take<std::int32_t>(padded(channels));
    blocks[0] = {0, channels, 0, channels, 0, 0};
    for (std::size_t c = 0; c < channels; ++c) {
      for (std::size_t t = 0; t < 9; ++t) weight[t * padded(channels) + c] = s.weight[c * 9 + t];
      bias[c] = s.bias[c];
      multiplier[c] = s.multiplier[c];
    }
    return {blocks, 1, weight, bias, multiplier, s.shift, s.fraction};
  }

  const std::int32_t* gain(const std::string& name, std::size_t channels) {
    const std::int32_t* from = reader_.i32(name, {kAnchors, channels});
    auto* gain = arena_.take<std::int32_t>(kAnchors * channels);
    for (std::size_t i = 0; i < kAnchors * channels; ++i) {
      if (from[i] < 0 || from[i] > kMaxGain)
        Reader::fail(name, "has " + std::to_string(from[i]) + ", not 0.." + std::to_string(kMaxGain));
      gain[i] = from[i];
    }
    return gain;
  }

 private:
  std::size_t padded(std::size_t outputs) const { return (outputs + kernel_.lanes - 1) / kernel_.lanes * kernel_.lanes; }

  std::size_t depth(std::size_t inputs) const { return packed_depth(kernel_.packing, inputs); }

  // Where the weight of output i and input k of a block stands: see Layer.
  std::size_t weight_place(std::size_t i, std::size_t k, std::size_t outputs, std::size_t inputs) const {
    if (kernel_.packing == Packing::kRows) return i * depth(inputs) + k;
    const std::size_t width = kernel_.lanes * kernel_.vectors, lane = i % kernel_.lanes;
    const std::size_t panel = i / width, vectors = std::min(kernel_.vectors, (padded(outputs) - panel * width) / kernel_.lanes);
    const std::size_t vector = k / 2 * vectors + i % width / kernel_.lanes;
    return panel * width * depth(inputs) + vector * 2 * kernel_.lanes +
           (kernel_.packing == Packing::kPaired ? 2 * lane + k % 2 : k % 2 * kernel_.lanes + lane);
  }

  Reader& reader_;
  const Kernel& kernel_;
  Arena& arena_;
};

struct Mixer {  // block() of section 6.1
  std::size_t channels = 0, hidden = 0;
  Layer enter, spatial, leave, expand, reduce;

  Mixer() = default;
  Mixer(Packer& packer, const std::string& name, std::size_t channels_, std::size_t hidden_, std::size_t groups)
      : channels(channels_),
        hidden(hidden_),
        enter(packer.layer(name + ".enter", channels, channels, {groups})),
        spatial(packer.depthwise(name + ".spatial", channels)),
        leave(packer.layer(name + ".leave", channels, channels, {groups})),
        expand(packer.layer(name + ".expand", channels, hidden, {groups})),
        reduce(packer.layer(name + ".reduce", hidden, channels, {groups})) {}
};

}  // namespace aecodec
