// SPDX-License-Identifier: Apache-2.0
//
// y moved to where its symbols cost less in bits and error together, by a gradient through the renderer in float32. Nothing
// of it is normative.

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "array.hpp"
#include "box.hpp"
#include "kernels/floats.hpp"

namespace aecodec {

constexpr std::int32_t kGradientHalo = 64;  // pixels of y around an area that its gradient depends on

// Nothing changes after construction: one Gradient serves many threads. One kernel gives the same bits for every number of
// threads; fewer than one is one.
class Gradient {
 public:
  // What a move starts from, of a window. Planes are [M, rows, columns] of it.
  struct State {
    const float* y = nullptr;                // [rows, columns, M]
    const std::int16_t* symbols = nullptr;   // that y is coded as
    const std::int32_t* step = nullptr;      // in 1/4096, > 0
    const std::int32_t* mean = nullptr;      // in 1/256
    Box window;
  };

  // What bits and errors count.
  struct Costs {
    const std::uint8_t* index = nullptr;  // [M, height / 16, width / 16] of the padded picture: the table of each symbol
    const float* bits = nullptr;          // [scales, 2 * reach + 1] of symbols -reach..reach, by table; reach > 1
    std::size_t scales = 0, reach = 0;
    float error = 0;  // bits that a squared error of 1 in one pixel is worth, on a scale from 0 to 1
  };

  // How far y goes: the part `rate` of the way to where y_hat would go by a Newton step, if errors of a quantization step
  // were worth `curvature` / 2 bits wherever they are.
  struct Pace {
    float rate = 0, curvature = 1;
  };

  // `arrays` are g_s of the networks; they are copied. Throws std::invalid_argument, which names the array, for one that is
  // missing, unknown, or of a wrong type or shape.
  explicit Gradient(const Arrays& arrays, const FloatKernel& kernel = floats(*aecodec::kernel(0)));
  ~Gradient();
  Gradient(Gradient&&) noexcept;

  std::size_t M() const;  // channels of y

  // What move requires, and throws std::invalid_argument otherwise: a level of 100..10000, and an area and a window of whole
  // positions of y within the padded picture, the area within the window. Boxes and sizes may be any numbers.
  static void require(const Box& window, Size size, int level, const Box& area);

  // y [rows, columns, M] of an area after a step, from the pixels RGB of the whole picture. What is beyond the window counts
  // as beyond the picture: it does no harm kGradientHalo away from the area.
  void move(const std::uint8_t* pixels, Size size, int level, const State& state, const Costs& costs, Pace pace, const Box& area,
            int threads, float* out) const;

 private:
  struct Network;
  class Patch;
  std::unique_ptr<const Network> network_;
};

}  // namespace aecodec
