// SPDX-License-Identifier: Apache-2.0
//
// The networks of the encoder, from pixels to y and from y to z, in float32. Nothing of it is normative.

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "array.hpp"
#include "box.hpp"
#include "kernels/floats.hpp"

namespace aecodec {

constexpr std::int32_t kHyperHalo = 112;  // pixels of y around an area that its z depends on

// Nothing changes after construction: one Analysis serves many threads. One kernel gives the same bits for every area that
// holds a position, and for every number of threads; fewer than one is one.
class Analysis {
 public:
  // `arrays` are g_a and h_a of the networks, whose depths and widths follow from names and shapes; they are copied. Throws
  // std::invalid_argument, which names the array, for one that is missing, unknown, or of a wrong type or shape.
  explicit Analysis(const Arrays& arrays, const FloatKernel& kernel = floats(*aecodec::kernel(0)));
  ~Analysis();
  Analysis(Analysis&&) noexcept;

  std::size_t N() const;  // channels of z
  std::size_t M() const;  // channels of y

  // [M]: what y of the level `there` is multiplied with to be that of the level `here`, nearly.
  std::vector<float> gain_ratio(int here, int there) const;

  // What analyze and hyper_analyze require, and throw std::invalid_argument otherwise: a level of 100..10000, an area of
  // whole positions within the padded picture, and a window that holds kHyperHalo around it, as far as the picture goes.
  // Boxes and sizes may be any numbers.
  static void require(Size size, int level, const Box& area);
  static void require(const Box& window, Size padded, int level, const Box& area);

  // y [height / 16, width / 16, M] of an area, from the pixels RGB of the whole picture, whose last ones are repeated
  // until its sides are multiples of kStride.
  void analyze(const std::uint8_t* pixels, Size size, int level, const Box& area, int threads, float* out) const;

  // z [N, height / 64, width / 64] of an area, rounded, -127..127, from y [height / 16, width / 16, M] of a window.
  void hyper_analyze(const float* y, const Box& window, Size padded, int level, const Box& area, int threads,
                     std::int8_t* out) const;

 private:
  struct Network;
  std::unique_ptr<const Network> network_;
};

}  // namespace aecodec
