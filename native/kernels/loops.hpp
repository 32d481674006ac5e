// SPDX-License-Identifier: Apache-2.0
//
// The loops of every kernel, over V: a vector of kLanes int32 and what a set of instructions does with it. V is local to
// the file that includes this, so that nothing compiled here is shared with files compiled for other instructions.
//
// V::Sum holds kLanes int32. dot(sum, weights, pair) adds to each lane the products of a pair of inputs with its weights.
// scale(v, multiplier, shift) is that of section 6, cut to 32 bits. narrow() stores lanes that fit in 16 bits.

#pragma once

#include "kernel.hpp"

#if defined(__clang__)
#define AECODEC_UNROLL _Pragma("unroll")
#elif defined(__GNUC__)
#define AECODEC_UNROLL _Pragma("GCC unroll 16")
#else
#define AECODEC_UNROLL
#endif

namespace aecodec {

template <class V>
struct Loops {
  using Sum = typename V::Sum;
  using Shift = typename V::Shift;
  static constexpr std::size_t kLanes = V::kLanes, kVectors = V::kVectors, kPositions = V::kPositions;
  static constexpr int kGainShift = 24;

  static Sum clamp(Sum v, std::int32_t low, std::int32_t high) { return V::max(V::min(v, V::set(high)), V::set(low)); }
  static Sum clamp16(Sum v) { return clamp(v, -32767, 32767); }

  static Sum act(Sum x, int fraction) {
    const Sum slope = V::add(V::shift(V::mul(x, V::set(9830)), fraction), V::set(16384));
    return V::shift(V::add(V::mul(x, clamp(slope, 0, 32768)), V::set(16384)), 15);
  }

  static void store16(std::int16_t* out, Sum v, std::size_t count) {
    if (count >= kLanes) return V::narrow(out, v);
    std::int16_t lanes[kLanes];
    V::narrow(lanes, v);
    for (std::size_t i = 0; i < count; ++i) out[i] = lanes[i];
  }

  static void store32(std::int32_t* out, Sum v, std::size_t count) {
    if (count >= kLanes) return V::store(out, v);
    std::int32_t lanes[kLanes];
    V::store(lanes, v);
    for (std::size_t i = 0; i < count; ++i) out[i] = lanes[i];
  }

  // Sums [kPositions, NV * kLanes] of a panel. `last` is the last of the positions that there are.
  template <std::size_t NV>
  static void dot(const std::int16_t* weight, const std::int32_t* bias, std::size_t depth, const std::int16_t* x,
                  std::size_t stride, std::size_t last, std::int32_t* sums) {
    const std::int16_t* rows[kPositions];
    AECODEC_UNROLL
    for (std::size_t p = 0; p < kPositions; ++p) rows[p] = x + (p < last ? p : last) * stride;
    if constexpr (V::kPacking == Packing::kRows) {
      V::dots(weight, bias, depth, rows, NV * kLanes, sums);
    } else {
      Sum sum[kPositions][NV];
      AECODEC_UNROLL
      for (std::size_t p = 0; p < kPositions; ++p) {
        AECODEC_UNROLL
        for (std::size_t v = 0; v < NV; ++v) sum[p][v] = V::load(bias + v * kLanes);
      }
      for (std::size_t k = 0; k < depth / 2; ++k) {
        typename V::Weights w[NV];
        AECODEC_UNROLL
        for (std::size_t v = 0; v < NV; ++v) w[v] = V::weights(weight + (k * NV + v) * 2 * kLanes);
        AECODEC_UNROLL
        for (std::size_t p = 0; p < kPositions; ++p) {
          const typename V::Pair pair = V::pair(rows[p] + 2 * k);
          AECODEC_UNROLL
          for (std::size_t v = 0; v < NV; ++v) sum[p][v] = V::dot(sum[p][v], w[v], pair);
        }
      }
      AECODEC_UNROLL
      for (std::size_t p = 0; p < kPositions; ++p) {
        AECODEC_UNROLL
        for (std::size_t v = 0; v < NV; ++v) V::store(sums + (p * NV + v) * kLanes, sum[p][v]);
      }
    }
  }

  // Outputs output..output + count - 1 of `positions` from the sums of a panel of `vectors`.
  template <Finish F>
  static void finish(const Layer& layer, const Job& job, const Shift& shift, const Shift& gain_shift,
                     const std::int32_t* multiplier, const std::int32_t* sums, std::size_t vectors, std::size_t first,
                     std::size_t positions, std::size_t output, std::size_t count) {
    for (std::size_t v = 0; v < vectors; ++v) {
      const std::size_t c = v * kLanes, left = count - c;
      const Sum m = V::load(multiplier + c);
      for (std::size_t p = 0; p < positions; ++p) {
        const std::size_t place = (first + p) * job.out_stride + output + c;
        Sum y = V::load(sums + (p * vectors + v) * kLanes);
        if constexpr (F == Finish::kSum) {
          store32(static_cast<std::int32_t*>(job.out) + place, y, left);
          continue;
        }
        y = V::scale(y, m, shift);
        if constexpr (F == Finish::kWide || F == Finish::kStep) {
          y = clamp(y, -8388607, 8388607);
          if constexpr (F == Finish::kStep) y = clamp(V::add(y, V::set(4096)), 2048, 262144);
          store32(static_cast<std::int32_t*>(job.out) + place, y, left);
          continue;
        }
        y = F == Finish::kPixel ? clamp(y, 0, 255) : clamp16(y);
        if constexpr (F == Finish::kAct) y = act(y, layer.fraction);
        if constexpr (F == Finish::kAdd || F == Finish::kAddGain) y = clamp16(V::add(y, V::widen(job.add + place)));
        if constexpr (F == Finish::kAddGain) y = clamp16(V::scale(y, V::load(job.gain + output + c), gain_shift));
        if constexpr (F == Finish::kModulate) {
          const Sum x = V::widen(job.add + place);
          const Sum product = V::shift(V::add(V::mul(x, y), V::set(2048)), 12);
          y = clamp16(V::add(V::add(x, V::widen(job.other + place)), product));
        }
        if constexpr (F == Finish::kGate) {
          const Sum product = V::shift(V::add(V::mul(V::widen(job.other + place), y), V::set(16384)), 15);
          y = clamp16(V::add(V::widen(job.add + place), product));
        }
        store16(static_cast<std::int16_t*>(job.out) + place, y, left);
      }
    }
  }

  template <Finish F>
  static void layer(const Layer& layer, const Job& job) {
    const Shift shift(layer.shift), gain_shift(kGainShift);
    alignas(64) std::int32_t sums[kPositions * kVectors * kLanes];
    for (std::size_t b = 0; b < layer.block_count; ++b) {
      const Block& block = layer.blocks[b];
      const std::size_t depth = packed_depth(V::kPacking, block.inputs);
      const std::int16_t* weight = layer.weight + block.weight;
      std::size_t vectors = 0;
      for (std::size_t c = 0; c < block.outputs; c += vectors * kLanes) {
        const std::size_t left = block.outputs - c;
        vectors = (left + kLanes - 1) / kLanes;
        if (vectors > kVectors) vectors = kVectors;
        const std::int32_t* bias = layer.bias + block.scale + c;
        const std::int32_t* multiplier = layer.multiplier + block.scale + c;
        for (std::size_t first = 0; first < job.positions; first += kPositions) {
          const std::size_t rest = job.positions - first, positions = rest < kPositions ? rest : kPositions;
          const std::int16_t* x = job.x + first * job.x_stride + block.input;
          switch (vectors) {
            case 1: dot<1>(weight, bias, depth, x, job.x_stride, positions - 1, sums); break;
            case 2: dot<2>(weight, bias, depth, x, job.x_stride, positions - 1, sums); break;
            default: dot<kVectors>(weight, bias, depth, x, job.x_stride, positions - 1, sums);
          }
          finish<F>(layer, job, shift, gain_shift, multiplier, sums, vectors, first, positions, block.output + c, left);
        }
        weight += depth * vectors * kLanes;
      }
    }
  }
  static_assert(kVectors == 2 || kVectors == 3, "layer() has a case for each");

  static void pointwise(const Layer& of, Finish finish, const Job& job) {
    switch (finish) {
      case Finish::kStore: return layer<Finish::kStore>(of, job);
      case Finish::kAct: return layer<Finish::kAct>(of, job);
      case Finish::kAdd: return layer<Finish::kAdd>(of, job);
      case Finish::kAddGain: return layer<Finish::kAddGain>(of, job);
      case Finish::kModulate: return layer<Finish::kModulate>(of, job);
      case Finish::kGate: return layer<Finish::kGate>(of, job);
      case Finish::kPixel: return layer<Finish::kPixel>(of, job);
      case Finish::kWide: return layer<Finish::kWide>(of, job);
      case Finish::kStep: return layer<Finish::kStep>(of, job);
      case Finish::kSum: return layer<Finish::kSum>(of, job);
    }
  }

  static void depthwise(const Layer& layer, const std::int16_t* const rows[3], std::size_t positions, std::int16_t* out) {
    const std::size_t channels = layer.blocks[0].outputs, padded = (channels + kLanes - 1) / kLanes * kLanes;
    const Shift shift(layer.shift);
    for (std::size_t c = 0; c < channels; c += kLanes) {
      Sum w[9];
      AECODEC_UNROLL
      for (std::size_t t = 0; t < 9; ++t) w[t] = V::widen(layer.weight + t * padded + c);
      const Sum bias = V::load(layer.bias + c), multiplier = V::load(layer.multiplier + c);
      for (std::size_t p = 0; p < positions; ++p) {
        Sum sum = bias;
        AECODEC_UNROLL
        for (std::size_t t = 0; t < 9; ++t)
          sum = V::add(sum, V::mul(w[t], V::widen(rows[t / 3] + (p + t % 3) * channels + c)));
        store16(out + p * channels + c, act(clamp16(V::scale(sum, multiplier, shift)), layer.fraction), channels - c);
      }
    }
  }

  static void dequantize(const Dequantization& job) {
    const Shift step_shift(8), gain_shift(kGainShift);
    for (std::size_t c = 0; c < job.count; c += kLanes) {
      const std::size_t left = job.count - c;
      const Sum symbol = V::add(V::mul(V::widen(job.symbols + c), V::set(256)), V::load(job.mean + c));
      const Sum y_hat = V::max(V::scale(symbol, V::load(job.step + c), step_shift), V::set(-2147483647));
      store32(job.y_hat + c, y_hat, left);
      if (job.y0 != nullptr)  // (y_hat + 32) >> 6, in two halves because y_hat + 32 may need more than 32 bits
        store16(job.y0 + c, clamp16(V::shift(V::add(V::shift(y_hat, 5), V::set(1)), 1)), left);
      store16(job.u + c, clamp16(V::scale(y_hat, V::load(job.gain + c), gain_shift)), left);
    }
  }

  static constexpr Kernel kernel(const char* name) {
    return {name, kLanes, kVectors, V::kPacking, &pointwise, &depthwise, &dequantize};
  }
};

}  // namespace aecodec
