// SPDX-License-Identifier: Apache-2.0
//
// Pixels to a file, by networks alone: what aecodec/encoder does in Python, strip by strip. Nothing of it is normative, but the
// bytes are those of Python where kernels are the same.

#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "analysis.hpp"
#include "container.hpp"
#include "gradient.hpp"
#include "receiver.hpp"
#include "tile.hpp"
#include "weights.hpp"

namespace aecodec {

constexpr int kDefaultEffort = 3, kMaxEffort = 9;

// How hard an encoder looks for symbols that cost less (aecodec/encoder/effort.py).
struct Effort {
  double dead_zone = 0;         // beyond plain rounding, in quantization steps per squared bit that a one costs above zero
  std::vector<double> rates{};  // of each gradient's step: the part of the way that y goes

  // REQUIRES: 0..kMaxEffort.
  static Effort of(int level);
};

using File = std::vector<std::uint8_t>;

// Nothing changes after construction: one Encoder serves many threads.
class Encoder {
 public:
  // prior and receiver must outlive it; of the networks what is needed is copied. Throws std::invalid_argument and Error for
  // what does not fit.
  Encoder(const Weights& networks, const Prior& prior, const Receiver& receiver);

  // The file of pixels RGB [height, width, 3] at the level of the header.
  File encode(const std::uint8_t* pixels, const Header& header, const Effort& effort, int threads) const;

  // The largest one of at most max_bytes, at whatever level, nearly: it may leave 2 % of them. Throws Error where there is none.
  File fit(const std::uint8_t* pixels, const Header& header, std::uint64_t max_bytes, const Effort& effort, int threads) const;

 private:
  class Coding;
  class Search;

  struct Networks {
    Analysis analysis;
    Gradient gradient;
  };
  static Networks load(const Weights& networks);
  float error_weight(int level) const;
  float curvature(int level) const;

  const Prior& prior_;
  const Receiver& receiver_;
  Networks networks_;
  std::vector<float> bits_;             // of symbols -kReach..kReach, by table
  double lowest_lambda_, highest_lambda_, top_curvature_;
};

}  // namespace aecodec
