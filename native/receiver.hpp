// SPDX-License-Identifier: Apache-2.0
//
// From symbols to pixels by integers alone (docs/format.md, section 6): every machine gives the same.

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "array.hpp"
#include "box.hpp"
#include "kernels/kernel.hpp"
#include "strips.hpp"

namespace aecodec {

constexpr std::int32_t kReceiverHalo = 128;  // pixels around an area, counted in whole positions of z, that it depends on

// Symbols of a window of the padded picture. Boxes are in pixels, those of the window multiples of kStride.
struct SymbolWindow {
  const std::int8_t* z = nullptr;   // [N, height / 64, width / 64] of the window
  const std::int16_t* y = nullptr;  // [M, height / 16, width / 16] of the window
  Box window;
  Size padded;
};

// What an encoder codes: y [rows, columns, M] of a window, in pixels multiples of kYStride, and where symbols are rounded to 0.
struct Latent {
  const float* y = nullptr;
  Box window;                            // beyond it y is 0
  const std::uint8_t* index = nullptr;   // [M, height / 16, width / 16] of the padded picture: the table of each symbol, 0..63
  const float* dead_zone = nullptr;      // [64]: values nearer to 0 become 0, by table
};

// Nothing changes after construction: one Receiver serves many threads.
//
// All that takes symbols requires, and throws std::invalid_argument otherwise: an area within the padded picture, a window that
// holds what it depends on (its positions of z and kReceiverHalo around them, as far as the padded picture goes), and a level
// of 100..10000. Fewer than one thread is one.
class Receiver {
 public:
  // `arrays` are those of section 6, without a prefix; what is needed of them is copied. Throws std::invalid_argument,
  // which names the array, for one that is missing, unknown, of a wrong type or shape, or beyond the bounds of section 6.
  // REQUIRES: a kernel that the machine can run.
  Receiver(const Arrays& arrays, std::size_t N, std::size_t M, const Kernel& kernel = *aecodec::kernel(0));
  ~Receiver();
  Receiver(Receiver&&) noexcept;

  std::size_t N() const { return N_; }  // channels of z
  std::size_t M() const { return M_; }  // channels of y

  // What is required above. Boxes and sizes may be any numbers.
  static void require(const Box& window, Size padded, int level, const Box& area, int factor = 1);

  // How an area is cut for threads. REQUIRES: require() of the area.
  static Strips strips(Size padded, const Box& area, int threads);

  // Pixels RGB of area.reduced(factor), rows `row_bytes` apart, each the mean of factor x factor (1, 2, 4 or 8).
  void render(const SymbolWindow& symbols, int level, const Box& area, int factor, int threads, std::uint8_t* out,
              std::size_t row_bytes) const;

  // y_hat [M, rows, columns] of area.aligned(kYStride), in 1/4096.
  void y_hat(const SymbolWindow& symbols, int level, const Box& area, int threads, std::int32_t* out) const;

  // Steps in 1/4096 and means in 1/256 [M, rows, columns] of area.aligned(kYStride), means in the first half of the
  // positions alone: the others are left as they are. Needs no y.
  void predict_first(const SymbolWindow& symbols, int level, const Box& area, int threads, std::int32_t* step,
                     std::int32_t* mean) const;

  // y_symbols [M, rows, columns] of area.aligned(kYStride): y in steps, less the mean that a decoder will know, rounded. They
  // depend on y of 32 pixels around the area. Needs no y of symbols. Steps in 1/4096 and means in 1/256, likewise, for those
  // who want them.
  void quantize(const SymbolWindow& symbols, const Latent& latent, int level, const Box& area, int threads,
                std::int16_t* out, std::int32_t* step = nullptr, std::int32_t* mean = nullptr) const;

 private:
  struct Network;
  class Strip;
  struct Request;

  void run(const Request& request, int threads) const;

  std::size_t N_, M_;
  std::unique_ptr<const Network> network_;
};

}  // namespace aecodec
