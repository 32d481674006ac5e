// SPDX-License-Identifier: Apache-2.0
//
// The loops of every kernel of floats, over V: a vector of kLanes floats and what a set of instructions does with it. V is
// local to the file that includes this, as in loops.hpp.

#pragma once

#include "floats.hpp"

#if defined(__clang__)
#define AECODEC_UNROLL _Pragma("unroll")
#elif defined(__GNUC__)
#define AECODEC_UNROLL _Pragma("GCC unroll 16")
#else
#define AECODEC_UNROLL
#endif
#if defined(__GNUC__)
#define AECODEC_APART __attribute__((noinline))
#else
#define AECODEC_APART
#endif

namespace aecodec {

template <class V>
struct FloatLoops {
  using Vector = typename V::Vector;
  using F = FloatFinish;
  static constexpr std::size_t kLanes = V::kLanes, kVectors = V::kVectors, kPositions = V::kPositions;

  static Vector act(Vector x) {
    return V::mul(x, V::max(V::min(V::fma(x, V::set(0.3f), V::set(0.5f)), V::set(1)), V::set(0)));
  }

  static Vector slope(Vector x) {
    const Vector end = V::set(1 / 0.6f), inside = V::fma(x, V::set(0.6f), V::set(0.5f));
    return V::if_less(x, end, V::if_less(V::sub(V::set(0), end), x, inside, V::set(0)), V::set(1));
  }

  static Vector load(const float* x, std::size_t count) {
    if (count >= kLanes) return V::load(x);
    float lanes[kLanes] = {};
    for (std::size_t i = 0; i < count; ++i) lanes[i] = x[i];
    return V::load(lanes);
  }

  static void store(float* out, Vector v, std::size_t count) {
    if (count >= kLanes) return V::store(out, v);
    float lanes[kLanes];
    V::store(lanes, v);
    for (std::size_t i = 0; i < count; ++i) out[i] = lanes[i];
  }

  // `place` is from the beginning of out; `count` outputs are left, from `output` on.
  template <F finish>
  static void put(Vector y, const FloatJob& job, std::size_t place, std::size_t output, std::size_t count) {
    if constexpr (finish == F::kActKeep) store(job.keep + place, y, count);
    if constexpr (finish == F::kAct || finish == F::kActKeep) y = act(y);
    if constexpr (finish == F::kSlope) y = V::mul(y, slope(load(job.other + place, count)));
    if constexpr (finish == F::kAdd || finish == F::kAddGain) y = V::add(y, load(job.add + place, count));
    if constexpr (finish == F::kGain || finish == F::kAddGain) y = V::mul(y, V::load(job.gain + output));
    store(job.out + place, y, count);
  }

  // Sums [NP, NV * kLanes] of a panel. `last` is the last of the positions that there are. (Within other functions some
  // compilers keep the sums in memory.)
  template <std::size_t NV, std::size_t NP>
  AECODEC_APART static void dot(const float* weight, const float* bias, std::size_t inputs, const float* x, std::size_t stride,
                  std::size_t last, float* sums) {
    const float* rows[NP];
    AECODEC_UNROLL
    for (std::size_t p = 0; p < NP; ++p) rows[p] = x + (p < last ? p : last) * stride;
    Vector sum[NP][NV];
    AECODEC_UNROLL
    for (std::size_t p = 0; p < NP; ++p) {
      AECODEC_UNROLL
      for (std::size_t v = 0; v < NV; ++v) sum[p][v] = V::load(bias + v * kLanes);
    }
    for (std::size_t k = 0; k < inputs; ++k) {
      Vector w[NV];
      AECODEC_UNROLL
      for (std::size_t v = 0; v < NV; ++v) w[v] = V::load(weight + (k * NV + v) * kLanes);
      AECODEC_UNROLL
      for (std::size_t p = 0; p < NP; ++p) {
        const Vector input = V::set(rows[p][k]);
        AECODEC_UNROLL
        for (std::size_t v = 0; v < NV; ++v) sum[p][v] = V::fma(w[v], input, sum[p][v]);
      }
    }
    AECODEC_UNROLL
    for (std::size_t p = 0; p < NP; ++p) {
      AECODEC_UNROLL
      for (std::size_t v = 0; v < NV; ++v) V::store(sums + (p * NV + v) * kLanes, sum[p][v]);
    }
  }

  template <std::size_t NV>
  static void sum(const float* weight, const float* bias, std::size_t inputs, const float* x, std::size_t stride,
                  std::size_t positions, float* sums) {
    if (positions <= kPositions / 2) return dot<NV, kPositions / 2>(weight, bias, inputs, x, stride, positions - 1, sums);
    dot<NV, kPositions>(weight, bias, inputs, x, stride, positions - 1, sums);
  }

  template <F finish>
  struct Pointwise {
    static void run(const FloatLayer& layer, const FloatJob& job, const float* const*) {
      alignas(64) float sums[kPositions * kVectors * kLanes];
      const float* weight = layer.weight;
      std::size_t vectors = 0;
      for (std::size_t c = 0; c < layer.outputs; c += vectors * kLanes) {
        vectors = (layer.outputs - c + kLanes - 1) / kLanes;
        if (vectors > kVectors) vectors = kVectors;
        for (std::size_t first = 0; first < job.positions; first += kPositions) {
          const std::size_t rest = job.positions - first, positions = rest < kPositions ? rest : kPositions;
          const float* x = job.x + first * job.x_stride;
          switch (vectors) {
            case 1: sum<1>(weight, layer.bias + c, layer.inputs, x, job.x_stride, positions, sums); break;
            case 2: sum<2>(weight, layer.bias + c, layer.inputs, x, job.x_stride, positions, sums); break;
            default: sum<kVectors>(weight, layer.bias + c, layer.inputs, x, job.x_stride, positions, sums);
          }
          for (std::size_t p = 0; p < positions; ++p)
            for (std::size_t v = 0; v < vectors; ++v) {
              const std::size_t output = c + v * kLanes;
              put<finish>(V::load(sums + (p * vectors + v) * kLanes), job, (first + p) * job.out_stride + output, output,
                          layer.outputs - output);
            }
        }
        weight += layer.inputs * vectors * kLanes;
      }
    }
  };
  static_assert(kVectors == 2 || kVectors == 3, "Pointwise has a case for each");

  template <F finish>
  struct Depthwise {
    static void run(const FloatLayer& layer, const FloatJob& job, const float* const* rows) {
      const std::size_t channels = layer.outputs, padded = (channels + kLanes - 1) / kLanes * kLanes;
      for (std::size_t c = 0; c < channels; c += kLanes) {
        const std::size_t count = channels - c;
        Vector w[9];
        AECODEC_UNROLL
        for (std::size_t t = 0; t < 9; ++t) w[t] = V::load(layer.weight + t * padded + c);
        const Vector bias = V::load(layer.bias + c);
        for (std::size_t p = 0; p < job.positions; ++p) {
          Vector sum = bias;
          AECODEC_UNROLL
          for (std::size_t t = 0; t < 9; ++t)
            sum = V::fma(w[t], V::load(rows[t / 3] + (p + t % 3) * job.x_stride + c), sum);
          put<finish>(sum, job, p * job.out_stride + c, c, count);
        }
      }
    }
  };

  template <template <F> class Loop>
  static void run(const FloatLayer& layer, F finish, const FloatJob& job, const float* const* rows) {
    switch (finish) {
      case F::kStore: return Loop<F::kStore>::run(layer, job, rows);
      case F::kAct: return Loop<F::kAct>::run(layer, job, rows);
      case F::kActKeep: return Loop<F::kActKeep>::run(layer, job, rows);
      case F::kSlope: return Loop<F::kSlope>::run(layer, job, rows);
      case F::kAdd: return Loop<F::kAdd>::run(layer, job, rows);
      case F::kGain: return Loop<F::kGain>::run(layer, job, rows);
      case F::kAddGain: return Loop<F::kAddGain>::run(layer, job, rows);
    }
  }

  static void pointwise(const FloatLayer& layer, F finish, const FloatJob& job) {
    run<Pointwise>(layer, finish, job, nullptr);
  }
  static void depthwise(const FloatLayer& layer, F finish, const float* const rows[3], const FloatJob& job) {
    run<Depthwise>(layer, finish, job, rows);
  }

  static constexpr FloatKernel kernel() { return {kLanes, kVectors, &pointwise, &depthwise}; }
};

}  // namespace aecodec
