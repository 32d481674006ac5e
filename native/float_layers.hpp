// SPDX-License-Identifier: Apache-2.0
//
// Layers in float32, packed for a kernel.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string>
#include <vector>

#include "kernels/floats.hpp"
#include "layers.hpp"

namespace aecodec {

class FloatPacker {
 public:
  FloatPacker(Reader& reader_, const FloatKernel& kernel, Arena& arena) : reader(reader_), kernel_(kernel), arena_(arena) {}

  // A layer with weight(output, input) and bias(output).
  template <typename Weight, typename Bias>
  FloatLayer pack(std::size_t inputs, std::size_t outputs, const Weight& weight, const Bias& bias) {
    const std::size_t width = kernel_.lanes * kernel_.vectors, whole = padded(outputs);
    auto* packed = arena_.take<float>(inputs * whole);
    auto* biases = arena_.take<float>(whole);
    for (std::size_t o = 0; o < outputs; ++o) {
      const std::size_t panel = o / width * width, across = std::min(width, whole - panel);
      for (std::size_t k = 0; k < inputs; ++k) packed[panel * inputs + k * across + (o - panel)] = weight(o, k);
      biases[o] = bias(o);
    }
    return {inputs, outputs, packed, biases};
  }

  FloatLayer pointwise(const std::string& name, std::size_t inputs, std::size_t outputs) {
    const float* weight = reader.f32(name + ".weight", {outputs, inputs});
    const float* bias = reader.f32(name + ".bias", {outputs});
    return pack(inputs, outputs, [=](std::size_t o, std::size_t k) { return weight[o * inputs + k]; },
                [=](std::size_t o) { return bias[o]; });
  }

  // `back`: what takes the gradient of the outputs to that of the inputs.
  FloatLayer depthwise(const std::string& name, std::size_t channels, bool back = false) {
    const float* weight = reader.f32(name + ".weight", {channels, 1, 3, 3});
    const float* bias = reader.f32(name + ".bias", {channels});
    const std::size_t whole = padded(channels);
    auto* packed = arena_.take<float>(9 * whole);
    auto* biases = arena_.take<float>(whole);
    for (std::size_t c = 0; c < channels; ++c) {
      for (std::size_t t = 0; t < 9; ++t) packed[t * whole + c] = weight[c * 9 + (back ? 8 - t : t)];
      biases[c] = back ? 0 : bias[c];
    }
    return {9, channels, packed, biases};
  }

  // [kAnchors, channels]
  const float* log_gain(const std::string& name, std::size_t channels) {
    const float* from = reader.f32(name + ".log_gain", {kAnchors, channels});
    auto* gain = arena_.take<float>(kAnchors * channels);
    std::copy(from, from + kAnchors * channels, gain);
    return gain;
  }

  Reader& reader;

 private:
  std::size_t padded(std::size_t outputs) const { return (outputs + kernel_.lanes - 1) / kernel_.lanes * kernel_.lanes; }

  const FloatKernel& kernel_;
  Arena& arena_;
};

// What a kernel multiplies with at a level.
inline std::vector<float> gain_at(const float* log_gain, std::size_t channels, int level) {
  const double place = static_cast<double>(kAnchors - 1) * (level - kMinLevel) / kSpread;
  const std::size_t low = std::min(static_cast<std::size_t>(place), kAnchors - 2);
  const double part = place - static_cast<double>(low);
  std::vector<float> gain(channels + kSlack);
  const float* from = log_gain + low * channels;
  for (std::size_t c = 0; c < channels; ++c)
    gain[c] = static_cast<float>(std::exp(from[c] * (1 - part) + from[channels + c] * part));
  return gain;
}

struct FloatMixer {
  std::size_t channels = 0, hidden = 0;
  FloatLayer enter, spatial, leave, expand, reduce;

  FloatMixer() = default;
  FloatMixer(FloatPacker& packer, const std::string& name, std::size_t channels_)
      : channels(channels_),
        hidden(packer.reader.rows(name + ".expand.weight")),
        enter(packer.pointwise(name + ".enter", channels, channels)),
        spatial(packer.depthwise(name + ".spatial", channels)),
        leave(packer.pointwise(name + ".leave", channels, channels)),
        expand(packer.pointwise(name + ".expand", channels, hidden)),
        reduce(packer.pointwise(name + ".reduce", hidden, channels)) {}
};

}  // namespace aecodec
