// SPDX-License-Identifier: Apache-2.0

#include "gradient.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "float_layers.hpp"
#include "strips.hpp"

namespace aecodec {

namespace {

constexpr int kWidest = 64, kHighest = 32;  // positions of y of a patch, whose activations stay in memory at once
constexpr int kSide = 4;                    // positions at 1/4 in a row of one of y, and pixels in a row of one at 1/4
constexpr std::size_t kParts = kSide * kSide;
constexpr std::size_t kColors = 3;
constexpr std::size_t kChunk = 256;  // positions at 1/4 that go through the renderer together

// A layer, and what takes the gradient of its outputs to that of its inputs.
struct Both {
  FloatLayer there, back;
};

// Output i of the layer is row order(i) of the array.
template <typename Order>
Both both(FloatPacker& packer, const std::string& name, std::size_t inputs, std::size_t outputs, const Order& order) {
  const float* weight = packer.reader.f32(name + ".weight", {outputs, inputs});
  const float* bias = packer.reader.f32(name + ".bias", {outputs});
  return {packer.pack(
              inputs, outputs, [=](std::size_t o, std::size_t k) { return weight[order(o) * inputs + k]; },
              [=](std::size_t o) { return bias[order(o)]; }),
          packer.pack(
              outputs, inputs, [=](std::size_t o, std::size_t k) { return weight[order(k) * inputs + o]; },
              [](std::size_t) { return 0.0f; })};
}

Both both(FloatPacker& packer, const std::string& name, std::size_t inputs, std::size_t outputs) {
  return both(packer, name, inputs, outputs, [](std::size_t i) { return i; });
}

struct BodyBlock {
  std::size_t channels = 0, hidden = 0;
  Both enter, spatial, leave, expand, reduce;
  const float* log_gain = nullptr;

  BodyBlock() = default;
  BodyBlock(FloatPacker& packer, const std::string& name, const std::string& gain, std::size_t channels_)
      : channels(channels_),
        hidden(packer.reader.rows(name + ".expand.weight")),
        enter(both(packer, name + ".enter", channels, channels)),
        spatial{packer.depthwise(name + ".spatial", channels), packer.depthwise(name + ".spatial", channels, true)},
        leave(both(packer, name + ".leave", channels, channels)),
        expand(both(packer, name + ".expand", channels, hidden)),
        reduce(both(packer, name + ".reduce", hidden, channels)),
        log_gain(packer.log_gain(gain, channels)) {}
};

// Numbers of the positions of a frame: [row, column, channel].
struct Plane {
  Box frame;
  std::size_t channels = 0;
  float* data = nullptr;

  Plane() = default;
  Plane(Arena& arena, const Box& frame_, std::size_t channels_)
      : frame(frame_), channels(channels_), data(arena.take<float>(unsigned_(frame_.width() * frame_.height()) * channels_)) {}
  float* at(int row, int column) const {
    return data + (unsigned_(row - frame.top) * unsigned_(frame.width()) + unsigned_(column - frame.left)) * channels;
  }
};

// The bits of a symbol between whole numbers, of a table of them.
float between(const float* bits, float place) {
  const auto below = static_cast<std::size_t>(place);
  return bits[below] + (bits[below + 1] - bits[below]) * (place - static_cast<float>(below));
}

}  // namespace

// All layers, packed for a kernel.
struct Gradient::Network {
  Network(const Arrays& arrays, const FloatKernel& kernel_);

  const FloatKernel& kernel;
  Arena arena;
  std::size_t M = 0, body = 0, render = 0;
  const float* y_gain = nullptr;
  Both enter, latent, condition, modulate, expand, reduce, leave;
  std::array<BodyBlock, 2> blocks;
};

Gradient::Network::Network(const Arrays& arrays, const FloatKernel& kernel_) : kernel(kernel_) {
  Reader reader(arrays);
  FloatPacker packer(reader, kernel, arena);
  M = reader.columns("g_s.enter.weight");
  body = reader.rows("g_s.enter.weight");
  render = reader.rows("g_s.expand.weight");
  y_gain = packer.log_gain("g_s.y_gain", M);
  enter = both(packer, "g_s.enter", M, body);
  for (std::size_t i = 0; i < 2; ++i) {
    const std::string number = std::to_string(i);
    blocks[i] = BodyBlock(packer, "g_s.blocks." + number, "g_s.gains." + number, body);
  }
  const auto shuffled = [](std::size_t channels) {  // [part, channel] of [channel, part]
    return [channels](std::size_t i) { return i % channels * kParts + i / channels; };
  };
  latent = both(packer, "g_s.latent", M, kParts * render, shuffled(render));
  condition = both(packer, "g_s.condition", body, kParts * render, shuffled(render));
  modulate = both(packer, "g_s.modulate", render, 3 * render);
  expand = both(packer, "g_s.expand", render, render);
  reduce = both(packer, "g_s.reduce", render, render);
  leave = both(packer, "g_s.leave", render, kParts * kColors, shuffled(kColors));
  reader.finish();
}

// A part of the area, with what its gradient depends on: from y to errors and back, layer by layer. Rows are independent of each
// other but for the 3x3 layers, so that threads share them between one of those and the next.
class Gradient::Patch {
 public:
  struct Request {
    const std::uint8_t* pixels;
    Size size;
    const State& state;
    const Costs& costs;
    Pace pace;
    Box area, window, padded;  // in positions of y
    int threads;
    float* out;
    std::vector<float> y_gain;
    std::array<std::vector<float>, 2> gains;
  };

  Patch(const Network& network, const Request& request, const Box& cells);
  void run();

 private:
  struct Activations {
    Plane x, entered, spatial, hidden;  // spatial and hidden before they are activated
    Plane spatial_back, x_back;         // gradients
  };

  // What a thread needs for a row at a time.
  struct Scratch {
    Scratch(const Network& n, std::size_t positions);

    Arena arena;
    float *body, *back, *active, *x, *k;
    std::array<float*, 6> chunk;
  };

  // Calls work for the rows of the patch and of `halo` positions around it, each thread for some that lie together.
  template <typename Work>
  void rows(int halo, const Work& work) {
    const Box cells = cells_.grown(halo, r_.window);
    const int parts = std::clamp(r_.threads, 1, cells.height());
    parallel(unsigned_(parts), parts, [&](std::size_t i) {
      Scratch scratch(n_, unsigned_(cells.width()));
      const int first = cells.top + cells.height() * static_cast<int>(i) / parts;
      const int last = cells.top + cells.height() * (static_cast<int>(i) + 1) / parts;
      for (int row = first; row < last; ++row) work(row, cells.left, unsigned_(cells.width()), scratch);
    });
  }
  std::size_t place(int row, int column) const {  // of the first channel in the planes of the state
    return unsigned_(row - r_.window.top) * unsigned_(r_.window.width()) + unsigned_(column - r_.window.left);
  }
  float step(std::size_t place) const { return static_cast<float>(r_.state.step[place]) / 4096; }
  float mean(std::size_t place) const { return static_cast<float>(r_.state.mean[place]) / 256; }
  std::size_t all() const { return unsigned_(r_.window.width()) * unsigned_(r_.window.height()); }

  void dequantize(int row, int column, std::size_t positions);
  void enter(std::size_t block, int row, int column, std::size_t positions);
  void mix(std::size_t block, int row, int column, std::size_t positions, float* out, Scratch& scratch);
  void mix_back(std::size_t block, int row, int column, std::size_t positions, float* gradient, Scratch& scratch);
  void enter_back(std::size_t block, int row, int column, std::size_t positions, float* gradient, Scratch& scratch);
  void render(int row, int column, std::size_t positions, const Scratch& scratch);
  void render_part(int row, int column, std::size_t first, std::size_t positions, float* x, float* k,
                   const std::array<float*, 6>& chunk);
  void error(int row, int column, std::size_t first, std::size_t positions, float* colors) const;
  void update(int row, int column, std::size_t positions);

  void layer(const FloatLayer& of, FloatFinish finish, const float* x, std::size_t positions, float* out,
             const float* add = nullptr, const float* gain = nullptr, const float* other = nullptr, float* keep = nullptr) const {
    n_.kernel.pointwise(of, finish, {x, of.inputs, positions, out, of.outputs, add, gain, other, keep});
  }

  const Network& n_;
  const Request& r_;
  const Box cells_;
  Arena arena_;
  Plane latent_, latent_back_;  // y_hat with its gain
  std::array<Activations, 2> a_;
};

Gradient::Patch::Patch(const Network& network, const Request& request, const Box& cells)
    : n_(network), r_(request), cells_(cells) {
  const Box frame{cells.left - 5, cells.top - 5, cells.right + 5, cells.bottom + 5};  // the outermost are zeros
  latent_ = Plane(arena_, frame, n_.M);
  latent_back_ = Plane(arena_, frame, n_.M);
  for (std::size_t i = 0; i < 2; ++i) {
    for (Plane* plane : {&a_[i].x, &a_[i].entered, &a_[i].spatial, &a_[i].spatial_back, &a_[i].x_back})
      *plane = Plane(arena_, frame, n_.body);
    a_[i].hidden = Plane(arena_, frame, n_.blocks[i].hidden);
  }
}

Gradient::Patch::Scratch::Scratch(const Network& n, std::size_t positions) {
  const std::size_t hidden = std::max(n.blocks[0].hidden, n.blocks[1].hidden), parts = positions * kParts;
  body = arena.take<float>(positions * n.body);
  back = arena.take<float>(positions * n.body);
  active = arena.take<float>(positions * std::max(n.body, hidden));
  x = arena.take<float>(parts * n.render);
  k = arena.take<float>(parts * n.render);
  for (float*& part : chunk) part = arena.take<float>(kChunk * std::max(3 * n.render, kParts * kColors));
}

void Gradient::Patch::run() {
  rows(4, [&](int row, int column, std::size_t positions, Scratch&) {
    dequantize(row, column, positions);
    layer(n_.enter.there, FloatFinish::kStore, latent_.at(row, column), positions, a_[0].x.at(row, column));
    enter(0, row, column, positions);
  });
  rows(3, [&](int row, int column, std::size_t positions, Scratch& scratch) {
    mix(0, row, column, positions, a_[1].x.at(row, column), scratch);
    enter(1, row, column, positions);
  });
  rows(2, [&](int row, int column, std::size_t positions, Scratch& scratch) {
    mix(1, row, column, positions, scratch.body, scratch);
    render(row, column, positions, scratch);
    mix_back(1, row, column, positions, scratch.back, scratch);
  });
  rows(1, [&](int row, int column, std::size_t positions, Scratch& scratch) {
    float* back = scratch.back;
    enter_back(1, row, column, positions, back, scratch);
    for (std::size_t p = 0; p < positions; ++p)
      for (std::size_t c = 0; c < n_.body; ++c) back[p * n_.body + c] *= r_.gains[0][c];
    mix_back(0, row, column, positions, back, scratch);
  });
  rows(0, [&](int row, int column, std::size_t positions, Scratch& scratch) {
    enter_back(0, row, column, positions, scratch.back, scratch);
    float* latent = latent_back_.at(row, column);
    layer(n_.enter.back, FloatFinish::kAddGain, scratch.back, positions, latent, latent, r_.y_gain.data());
    update(row, column, positions);
  });
}

void Gradient::Patch::dequantize(int row, int column, std::size_t positions) {
  float* out = latent_.at(row, column);
  for (std::size_t c = 0; c < n_.M; ++c) {
    const std::size_t first = c * all() + place(row, column);
    for (std::size_t p = 0; p < positions; ++p) {
      const float y_hat = (static_cast<float>(r_.state.symbols[first + p]) + mean(first + p)) * step(first + p);
      out[p * n_.M + c] = y_hat * r_.y_gain[c];
    }
  }
}

void Gradient::Patch::enter(std::size_t block, int row, int column, std::size_t positions) {
  layer(n_.blocks[block].enter.there, FloatFinish::kStore, a_[block].x.at(row, column), positions,
        a_[block].entered.at(row, column));
}

void Gradient::Patch::mix(std::size_t block, int row, int column, std::size_t positions, float* out, Scratch& scratch) {
  const BodyBlock& b = n_.blocks[block];
  const Activations& a = a_[block];
  float* active = scratch.active;
  const float* rows[3];
  for (int i = 0; i < 3; ++i) rows[i] = a.entered.at(row - 1 + i, column - 1);
  n_.kernel.depthwise(b.spatial.there, FloatFinish::kActKeep, rows,
                      {nullptr, b.channels, positions, active, b.channels, nullptr, nullptr, nullptr, a.spatial.at(row, column)});
  layer(b.leave.there, FloatFinish::kAdd, active, positions, out, a.x.at(row, column));
  layer(b.expand.there, FloatFinish::kActKeep, out, positions, active, nullptr, nullptr, nullptr, a.hidden.at(row, column));
  layer(b.reduce.there, FloatFinish::kAddGain, active, positions, out, out, r_.gains[block].data());
}

// From the gradient of a block's output (without its gain) to those of its spatial layer, and of its input by the other way.
void Gradient::Patch::mix_back(std::size_t block, int row, int column, std::size_t positions, float* gradient, Scratch& scratch) {
  const BodyBlock& b = n_.blocks[block];
  const Activations& a = a_[block];
  float* hidden = scratch.active;
  float* x_back = a.x_back.at(row, column);
  layer(b.reduce.back, FloatFinish::kSlope, gradient, positions, hidden, nullptr, nullptr, a.hidden.at(row, column));
  layer(b.expand.back, FloatFinish::kAdd, hidden, positions, x_back, gradient);
  layer(b.leave.back, FloatFinish::kSlope, x_back, positions, a.spatial_back.at(row, column), nullptr, nullptr,
        a.spatial.at(row, column));
}

void Gradient::Patch::enter_back(std::size_t block, int row, int column, std::size_t positions, float* gradient, Scratch& scratch) {
  const BodyBlock& b = n_.blocks[block];
  const Activations& a = a_[block];
  float* entered = scratch.active;
  const float* rows[3];
  for (int i = 0; i < 3; ++i) rows[i] = a.spatial_back.at(row - 1 + i, column - 1);
  n_.kernel.depthwise(b.spatial.back, FloatFinish::kStore, rows, {nullptr, b.channels, positions, entered, b.channels});
  layer(b.enter.back, FloatFinish::kAdd, entered, positions, gradient, a.x_back.at(row, column));
}

// The gradient of a row of the body's output without its gain, and that of the latent but for what comes through the body.
void Gradient::Patch::render(int row, int column, std::size_t positions, const Scratch& scratch) {
  const std::size_t C = n_.render, parts = positions * kParts;
  float *x = scratch.x, *k = scratch.k;
  layer(n_.latent.there, FloatFinish::kStore, latent_.at(row, column), positions, x);
  layer(n_.condition.there, FloatFinish::kStore, scratch.body, positions, k);
  for (std::size_t first = 0; first < parts; first += kChunk)
    render_part(row, column, first, std::min(kChunk, parts - first), x + first * C, k + first * C, scratch.chunk);
  layer(n_.latent.back, FloatFinish::kStore, x, positions, latent_back_.at(row, column));
  layer(n_.condition.back, FloatFinish::kGain, k, positions, scratch.back, nullptr, r_.gains[1].data());
}

// Positions at 1/4, those of one position of y one behind the other: x and k become their gradients.
void Gradient::Patch::render_part(int row, int column, std::size_t first, std::size_t positions, float* x, float* k,
                                  const std::array<float*, 6>& chunk) {
  const std::size_t C = n_.render, count = positions * C;
  float *const modulation = chunk[0], *const mixed = chunk[1], *const expanded = chunk[2], *const reduced = chunk[3];
  float *const out = chunk[4], *const active = chunk[5];
  for (std::size_t i = 0; i < count; ++i) active[i] = k[i] * std::clamp(0.3f * k[i] + 0.5f, 0.0f, 1.0f);
  layer(n_.modulate.there, FloatFinish::kStore, active, positions, modulation);
  const auto each = [&](const auto& work) {
    for (std::size_t p = 0; p < positions; ++p) {
      float* m = modulation + p * 3 * C;
      for (std::size_t c = 0; c < C; ++c) work(p * C + c, m[c], m[C + c], m[2 * C + c]);
    }
  };
  each([&](std::size_t i, float shift, float scale, float) { mixed[i] = x[i] + shift + x[i] * scale; });
  layer(n_.expand.there, FloatFinish::kActKeep, mixed, positions, active, nullptr, nullptr, nullptr, expanded);
  layer(n_.reduce.there, FloatFinish::kStore, active, positions, reduced);
  each([&](std::size_t i, float, float, float gate) { mixed[i] = x[i] + gate * reduced[i]; });
  layer(n_.leave.there, FloatFinish::kStore, mixed, positions, out);
  error(row, column, first, positions, out);
  layer(n_.leave.back, FloatFinish::kStore, out, positions, mixed);  // from here on, gradients
  each([&](std::size_t i, float, float, float& gate) {
    active[i] = mixed[i] * gate;
    gate = mixed[i] * reduced[i];
  });
  layer(n_.reduce.back, FloatFinish::kSlope, active, positions, reduced, nullptr, nullptr, expanded);
  layer(n_.expand.back, FloatFinish::kStore, reduced, positions, active);
  each([&](std::size_t i, float& shift, float& scale, float) {
    mixed[i] += active[i] * (1 + scale);
    scale = active[i] * x[i];
    shift = active[i];
  });
  std::copy(mixed, mixed + count, x);
  std::copy(k, k + count, expanded);
  layer(n_.modulate.back, FloatFinish::kSlope, modulation, positions, k, nullptr, nullptr, expanded);
}

// Colors [row, column, color] of positions at 1/4, less 0.5, become the gradient of the squared error.
void Gradient::Patch::error(int row, int column, std::size_t first, std::size_t positions, float* colors) const {
  const std::size_t width = unsigned_(r_.size.width), height = unsigned_(r_.size.height);
  for (std::size_t p = first; p < first + positions; ++p) {
    const std::size_t part = p % kParts;
    const std::size_t top = unsigned_(row) * kYStride + part / kSide * kSide;
    const std::size_t left = (unsigned_(column) + p / kParts) * kYStride + part % kSide * kSide;
    for (std::size_t i = 0; i < unsigned_(kSide); ++i) {
      const std::size_t inside = top + i < height && left < width ? std::min<std::size_t>(width - left, kSide) * kColors : 0;
      const std::uint8_t* line = r_.pixels + (inside == 0 ? 0 : ((top + i) * width + left) * kColors);
      for (std::size_t j = 0; j < kSide * kColors; ++j, ++colors) {
        const float shown = std::clamp(*colors + 0.5f, 0.0f, 1.0f);  // yet the gradient passes: the error is what is seen
        *colors = j < inside ? 2 * (shown - static_cast<float>(line[j]) * (1 / 255.0f)) : 0;
      }
    }
  }
}

void Gradient::Patch::update(int row, int column, std::size_t positions) {
  const float* y = r_.state.y + place(row, column) * n_.M;
  const float* gradient = latent_back_.at(row, column);
  float* out = r_.out + (unsigned_(row - r_.area.top) * unsigned_(r_.area.width()) + unsigned_(column - r_.area.left)) * n_.M;
  const auto reach = static_cast<float>(r_.costs.reach);
  for (std::size_t c = 0; c < n_.M; ++c) {
    const std::size_t first = c * all() + place(row, column);
    const std::uint8_t* index = r_.costs.index + (c * unsigned_(r_.padded.height()) + unsigned_(row)) * unsigned_(r_.padded.width());
    for (std::size_t p = 0; p < positions; ++p) {
      const std::size_t at = p * n_.M + c, table = std::min<std::size_t>(index[unsigned_(column) + p], r_.costs.scales - 1);
      const float width = step(first + p), value = y[at] / width - mean(first + p);
      const float low = value > 1 - reach ? value : 1 - reach, place = std::min(low, reach - 1) + reach;  // never NaN
      const float* bits = r_.costs.bits + table * (2 * r_.costs.reach + 1);
      const float slope = between(bits, place + 0.5f) - between(bits, place - 0.5f);
      const float newton = (r_.costs.error * width * gradient[at] + slope) / r_.pace.curvature;
      out[at] = y[at] + r_.pace.rate * (static_cast<float>(r_.state.symbols[first + p]) - newton - value) * width;
    }
  }
}

Gradient::Gradient(const Arrays& arrays, const FloatKernel& kernel) : network_(std::make_unique<const Network>(arrays, kernel)) {}
Gradient::~Gradient() = default;
Gradient::Gradient(Gradient&&) noexcept = default;

std::size_t Gradient::M() const { return network_->M; }

void Gradient::require(const Box& window, Size size, int level, const Box& area) {
  for (const std::int32_t side : {size.width, size.height})
    if (side <= 0 || side > kMaxSide) throw std::invalid_argument("a side is " + std::to_string(side) + ", not 1..65536");
  const Box padded = Box{0, 0, size.width, size.height}.aligned(kStride);
  for (const Box& box : {window, area})
    if (!within(box, {padded.right, padded.bottom}) || !(box == box.aligned(kYStride)))
      throw std::invalid_argument("area and window are not of whole positions of y within the padded picture");
  if (!(area == area.intersection(window))) throw std::invalid_argument("the area is not within the window");
  require_level(level);
}

void Gradient::move(const std::uint8_t* pixels, Size size, int level, const State& state, const Costs& costs, Pace pace,
                    const Box& area, int threads, float* out) const {
  require(state.window, size, level, area);
  const Network& n = *network_;
  const Patch::Request request{pixels,
                               size,
                               state,
                               costs,
                               pace,
                               area.reduced(kYStride),
                               state.window.reduced(kYStride),
                               Box{0, 0, size.width, size.height}.aligned(kStride).reduced(kYStride),
                               threads,
                               out,
                               gain_at(n.y_gain, n.M, level),
                               {gain_at(n.blocks[0].log_gain, n.body, level), gain_at(n.blocks[1].log_gain, n.body, level)}};
  const Box& cells = request.area;
  for (int top = cells.top; top < cells.bottom; top += kHighest)
    for (int left = cells.left; left < cells.right; left += kWidest)
      Patch(n, request, {left, top, std::min(left + kWidest, cells.right), std::min(top + kHighest, cells.bottom)}).run();
}

}  // namespace aecodec
