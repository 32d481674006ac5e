// SPDX-License-Identifier: Apache-2.0

#include "analysis.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include "float_layers.hpp"
#include "strips.hpp"

namespace aecodec {

namespace {

// The cost of a strip of which some cells in width and height are made twice
auto halo_of(int cells) {
  return [cells](int width, int height) {
    return std::ceil((width + cells) / 8.0) * 8 * (height + cells);  // kernels take some positions together
  };
}

constexpr int kPatch = 8;                              // pixels that become one position in a row, at first
constexpr std::size_t kPatchSize = kPatch * kPatch * 3;  // [row, column, channel]
constexpr int kWidest = 64;                            // positions of y of a strip: more do not stay in the cache

// One of the steps from a picture, or from y, to the last features: a block, or else what halves both sides. (What the first
// one does is up to the network.)
struct Step {
  std::size_t channels = 0;
  FloatMixer mixer{};                // of a block
  std::array<FloatLayer, 2> rows{};  // of what halves: for the upper row of each 2x2, and for the lower one
  const float* log_gain = nullptr;   // behind it; may be missing

  bool block() const { return mixer.channels != 0; }
};

struct Tower {
  std::vector<Step> steps;

  std::size_t channels() const { return steps.back().channels; }
  void blocks(FloatPacker& packer, const std::string& name) { steps.push_back({channels(), {packer, name, channels()}}); }
  void down(FloatPacker& packer, const std::string& name, std::size_t outputs);
};

// Weights [outputs, channel, row, column] of a layer that takes side x side positions together, for inputs [row, column,
// channel] of `rows` of them from `first` on; scaled. The bias goes with the first rows.
FloatLayer patch_layer(FloatPacker& packer, const std::string& name, std::size_t outputs, std::size_t channels, std::size_t side,
                       std::size_t first, std::size_t rows, std::size_t columns, double factor) {
  const float* weight = packer.reader.f32(name + ".weight", {outputs, channels * side * side});
  const float* bias = packer.reader.f32(name + ".bias", {outputs});
  return packer.pack(
      rows * side * channels, outputs,
      [=](std::size_t o, std::size_t k) {  // inputs stand in parts of `columns` columns, [row, column, channel] each
        const std::size_t part = k / (rows * columns * channels), place = k % (rows * columns * channels);
        const std::size_t row = first + place / channels / columns, column = part * columns + place / channels % columns;
        return static_cast<float>(weight[((o * channels + place % channels) * side + row) * side + column] * factor);
      },
      [=](std::size_t o) { return first == 0 ? bias[o] : 0.0f; });
}

void Tower::down(FloatPacker& packer, const std::string& name, std::size_t outputs) {
  Step step;
  for (std::size_t row = 0; row < 2; ++row)
    step.rows[row] = patch_layer(packer, name, outputs, channels(), 2, row, 1, 2, 1);
  step.channels = outputs;
  steps.push_back(step);
}

// Rows of the last step of a tower, for some columns of it, from top to bottom. Each step is asked for a row, and asks the one
// before it for the row below, which its 3x3 layer looks at.
class Climb {
 public:
  using First = std::function<void(int row, const Ring<float>& out, const float* gain)>;

  // cells: of the last step, in a picture of width x height of them. first() makes rows of the first step.
  Climb(const Tower& tower, const FloatKernel& kernel, const std::vector<std::vector<float>>& gains, const Box& cells, int width,
        int height, First first);

  // Ascending ones
  const float* row(int at) {
    need(stages_.size() - 1, at);
    return stages_.back().out.at(at);
  }
  const Ring<float>& first() const { return stages_.front().out; }

 private:
  struct Stage {
    const Step* step = nullptr;
    const float* gain = nullptr;
    Ring<float> out, entered;  // of a block: the output of its first layer, with zeros around the picture
    const float* outside = nullptr;
    int height = 0;                    // of the picture
    int next = 0, next_entered = 0;  // rows to be made
  };

  void need(std::size_t stage, int row) {
    for (Stage& s = stages_[stage]; s.next <= row; ++s.next) make(stage, s.next);
  }
  void make(std::size_t stage, int row);
  void mix(const Stage& s, const Ring<float>& x, int row);

  const FloatKernel& kernel_;
  First make_first_;
  Arena arena_;
  std::vector<Stage> stages_;
  float *spatial_ = nullptr, *hidden_ = nullptr;
};

Climb::Climb(const Tower& tower, const FloatKernel& kernel, const std::vector<std::vector<float>>& gains, const Box& cells,
             int width, int height, First first)
    : kernel_(kernel), make_first_(std::move(first)), stages_(tower.steps.size()) {
  Span span{cells.left, cells.right};
  int top = cells.top;
  std::size_t spatial = 0, hidden = 0;
  for (std::size_t i = stages_.size(); i-- > 0;) {
    const Step& step = tower.steps[i];
    Stage& s = stages_[i];
    s.step = &step;
    s.gain = step.log_gain == nullptr ? nullptr : gains[i].data();
    s.out = Ring<float>(arena_, span, step.channels, 2);
    s.height = height;
    s.next = top;
    if (step.block()) {
      const Span around{span.begin - 1, span.end + 1};
      s.entered = Ring<float>(arena_, around, step.channels, 3);
      s.outside = arena_.take<float>(around.size() * step.channels);
      spatial = std::max(spatial, span.size() * step.channels);
      hidden = std::max(hidden, span.size() * step.mixer.hidden);
      span = span.grown(1, width);
      top = std::max(top - 1, 0);
      s.next_entered = top;
    } else {
      span = span.doubled();
      top *= 2;
      width *= 2;
      height *= 2;
    }
  }
  spatial_ = arena_.take<float>(spatial);
  hidden_ = arena_.take<float>(hidden);
}

void Climb::make(std::size_t stage, int row) {
  Stage& s = stages_[stage];
  if (stage == 0) return make_first_(row, s.out, s.gain);
  const Ring<float>& x = stages_[stage - 1].out;
  if (s.step->block()) {
    for (; s.next_entered <= std::min(row + 1, s.height - 1); ++s.next_entered) {
      const int at = s.next_entered;
      need(stage - 1, at);
      kernel_.pointwise(s.step->mixer.enter, FloatFinish::kStore,
                        {x.at(at), x.channels, x.span.size(), s.entered.at(at, x.span.begin), x.channels});
    }
    return mix(s, x, row);
  }
  need(stage - 1, 2 * row + 1);
  FloatJob job{x.at(2 * row), 2 * x.channels, s.out.span.size(), s.out.at(row), s.out.channels, s.out.at(row), s.gain};
  kernel_.pointwise(s.step->rows[0], FloatFinish::kStore, job);
  job.x = x.at(2 * row + 1);
  kernel_.pointwise(s.step->rows[1], s.gain == nullptr ? FloatFinish::kAdd : FloatFinish::kAddGain, job);
}

void Climb::mix(const Stage& s, const Ring<float>& x, int row) {
  const FloatMixer& mixer = s.step->mixer;
  const std::size_t channels = mixer.channels, positions = s.out.span.size();
  const auto entered = [&](int at) { return at < 0 || at >= s.height ? s.outside : s.entered.at(at); };
  const float* rows[3] = {entered(row - 1), entered(row), entered(row + 1)};
  float* out = s.out.at(row);
  kernel_.depthwise(mixer.spatial, FloatFinish::kAct, rows, {nullptr, channels, positions, spatial_, channels});
  kernel_.pointwise(mixer.leave, FloatFinish::kAdd,
                    {spatial_, channels, positions, out, channels, x.at(row, s.out.span.begin)});
  kernel_.pointwise(mixer.expand, FloatFinish::kAct, {out, channels, positions, hidden_, mixer.hidden});
  kernel_.pointwise(mixer.reduce, s.gain == nullptr ? FloatFinish::kAdd : FloatFinish::kAddGain,
                    {hidden_, mixer.hidden, positions, out, channels, out, s.gain});
}

std::vector<std::vector<float>> gains_at(const Tower& tower, int level) {
  std::vector<std::vector<float>> gains;
  for (const Step& step : tower.steps)
    gains.push_back(step.log_gain == nullptr ? std::vector<float>() : gain_at(step.log_gain, step.channels, level));
  return gains;
}

// NaN becomes -127
std::int8_t symbol(float z) {
  const float low = z > -127 ? z : -127;
  return static_cast<std::int8_t>(std::nearbyint(low < 127 ? low : 127));
}

}  // namespace

// All layers, packed for a kernel.
struct Analysis::Network {
  Network(const Arrays& arrays, const FloatKernel& kernel_);

  const FloatKernel& kernel;
  Arena arena;
  std::size_t N = 0, M = 0;
  Tower analysis, hyper;
  FloatLayer enter, leave, hyper_enter;
  std::array<FloatLayer, 2> linear{};  // for the upper patches and the lower ones
  const float* y_gain = nullptr;
};

Analysis::Network::Network(const Arrays& arrays, const FloatKernel& kernel_) : kernel(kernel_) {
  Reader reader(arrays);
  FloatPacker packer(reader, kernel, arena);
  const auto gain = [&](Tower& tower, const std::string& name) {
    tower.steps.back().log_gain = packer.log_gain(name, tower.channels());
  };
  const auto blocks = [&](const std::string& name) {
    for (std::size_t i = 0; reader.has(name + std::to_string(i) + ".enter.weight"); ++i)
      analysis.blocks(packer, name + std::to_string(i));
  };
  // Pixels come as whole numbers less 127.5.
  analysis.steps.push_back({reader.rows("g_a.enter.weight")});
  enter = patch_layer(packer, "g_a.enter", analysis.channels(), 3, kPatch, 0, kPatch, kPatch, 1 / 255.0);
  blocks("g_a.fine.");
  gain(analysis, "g_a.fine_gain");
  analysis.down(packer, "g_a.down", reader.rows("g_a.down.weight"));
  blocks("g_a.coarse.");
  M = reader.rows("g_a.leave.weight");
  leave = packer.pointwise("g_a.leave", analysis.channels(), M);
  for (std::size_t row = 0; row < 2; ++row)
    linear[row] = patch_layer(packer, "g_a.linear", M, 3, 2 * kPatch, row * kPatch, kPatch, kPatch, 1 / 255.0 / kYStride);
  y_gain = packer.log_gain("g_a.y_gain", M);

  N = reader.rows("h_a.enter.weight");
  hyper_enter = packer.pointwise("h_a.enter", M, N);
  hyper.steps.push_back({N});
  for (std::size_t i = 0; i < 3; ++i) {
    const std::string number = std::to_string(i);
    if (i != 0) hyper.down(packer, "h_a.downs." + std::to_string(i - 1), N);
    hyper.blocks(packer, "h_a.blocks." + number);
    gain(hyper, "h_a.gains." + number);
  }
  reader.finish();
}

Analysis::Analysis(const Arrays& arrays, const FloatKernel& kernel) : network_(std::make_unique<const Network>(arrays, kernel)) {}
Analysis::~Analysis() = default;
Analysis::Analysis(Analysis&&) noexcept = default;

std::size_t Analysis::N() const { return network_->N; }
std::size_t Analysis::M() const { return network_->M; }

std::vector<float> Analysis::gain_ratio(int here, int there) const {
  const std::vector<float> other = gain_at(network_->y_gain, network_->M, there);
  std::vector<float> ratio = gain_at(network_->y_gain, network_->M, here);
  for (std::size_t c = 0; c < network_->M; ++c) ratio[c] /= other[c];
  ratio.resize(network_->M);
  return ratio;
}

void Analysis::require(Size size, int level, const Box& area) {
  for (const std::int32_t side : {size.width, size.height})
    if (side <= 0 || side > kMaxSide) throw std::invalid_argument("a side is " + std::to_string(side) + ", not 1..65536");
  const Box padded = Box{0, 0, size.width, size.height}.aligned(kStride);
  if (!within(area, {padded.right, padded.bottom}) || !(area == area.aligned(kYStride)))
    throw std::invalid_argument("the area is not of whole positions of y within the padded picture");
  require_level(level);
}

void Analysis::require(const Box& window, Size padded, int level, const Box& area) {
  require_padded(padded);
  if (!within(area, padded) || !(area == area.aligned(kStride)))
    throw std::invalid_argument("the area is not of whole positions of z within the padded picture");
  if (!within(window, padded) || !(window == window.aligned(kYStride)))
    throw std::invalid_argument("the window is not of whole positions of y within the padded picture");
  const Box needed = area.grown(kHyperHalo, {0, 0, padded.width, padded.height});
  if (!(needed == needed.intersection(window))) throw std::invalid_argument("the window does not hold all that the area needs");
  require_level(level);
}

void Analysis::analyze(const std::uint8_t* pixels, Size size, int level, const Box& area, int threads, float* out) const {
  require(size, level, area);
  const Network& n = *network_;
  const auto gains = gains_at(n.analysis, level);
  const auto y_gain = gain_at(n.y_gain, n.M, level);
  const Box all = area.reduced(kYStride), padded = Box{0, 0, size.width, size.height}.aligned(kStride).reduced(kYStride);
  const auto y = [&](int row, int column) {
    return out + (unsigned_(row - all.top) * unsigned_(all.width()) + unsigned_(column - all.left)) * n.M;
  };
  for_strips(all, best_strips(all, kWidest, threads, halo_of(2)), threads, [&](const Box& cells) {
    const std::size_t positions = unsigned_(cells.width());
    std::vector<float> patches;
    const auto gather = [&](int row, const Span& span) {
      patches.resize(span.size() * kPatchSize);
      for (int i = 0; i < kPatch; ++i) {
        const std::uint8_t* line = pixels + unsigned_(std::min(row * kPatch + i, size.height - 1)) * unsigned_(size.width) * 3;
        for (int column = span.begin; column < span.end; ++column) {
          float* to = patches.data() + unsigned_(column - span.begin) * kPatchSize + unsigned_(i * kPatch * 3);
          const int left = column * kPatch, inside = std::clamp(size.width - left, 0, kPatch);
          if (inside == kPatch) {
            for (int k = 0; k < kPatch * 3; ++k) to[k] = static_cast<float>(line[left * 3 + k]) - 127.5f;
            continue;
          }
          for (int k = 0; k < kPatch * 3; ++k)
            to[k] = static_cast<float>(line[std::min(left + k / 3, size.width - 1) * 3 + k % 3]) - 127.5f;
        }
      }
    };
    // The linear layer writes to `out` what it has of both of its rows of patches; the last layer comes later.
    const auto first = [&](int row, const Ring<float>& to, const float* gain) {
      gather(row, to.span);
      n.kernel.pointwise(n.enter, gain == nullptr ? FloatFinish::kStore : FloatFinish::kGain,
                         {patches.data(), kPatchSize, to.span.size(), to.at(row), to.channels, nullptr, gain});
      if (row / 2 < cells.top || row / 2 >= cells.bottom) return;
      const float* x = patches.data() + unsigned_(2 * cells.left - to.span.begin) * kPatchSize;
      float* sums = y(row / 2, cells.left);
      n.kernel.pointwise(n.linear[unsigned_(row % 2)], row % 2 == 0 ? FloatFinish::kStore : FloatFinish::kAdd,
                         {x, 2 * kPatchSize, positions, sums, n.M, sums});
    };
    Climb climb(n.analysis, n.kernel, gains, cells, padded.right, padded.bottom, first);
    for (int row = cells.top; row < cells.bottom; ++row) {
      float* sums = y(row, cells.left);
      n.kernel.pointwise(n.leave, FloatFinish::kAddGain,
                         {climb.row(row), n.leave.inputs, positions, sums, n.M, sums, y_gain.data()});
    }
  });
}

void Analysis::hyper_analyze(const float* y, const Box& window, Size padded, int level, const Box& area, int threads,
                             std::int8_t* out) const {
  require(window, padded, level, area);
  const Network& n = *network_;
  const auto gains = gains_at(n.hyper, level);
  const Box all = area.reduced(kStride), seen = window.reduced(kYStride);
  for_strips(all, best_strips(all, kWidest * kYStride / kStride, threads, halo_of(2)), threads, [&](const Box& cells) {
    const auto first = [&](int row, const Ring<float>& to, const float*) {
      const float* x = y + (unsigned_(row - seen.top) * unsigned_(seen.width()) + unsigned_(to.span.begin - seen.left)) * n.M;
      n.kernel.pointwise(n.hyper_enter, FloatFinish::kStore, {x, n.M, to.span.size(), to.at(row), n.N});
    };
    Climb climb(n.hyper, n.kernel, gains, cells, padded.width / kStride, padded.height / kStride, first);
    for (int row = cells.top; row < cells.bottom; ++row) {
      const float* z = climb.row(row);
      for (int column = cells.left; column < cells.right; ++column)
        for (std::size_t c = 0; c < n.N; ++c)
          out[(c * unsigned_(all.height()) + unsigned_(row - all.top)) * unsigned_(all.width()) + unsigned_(column - all.left)] =
              symbol(*z++);
    }
  });
}

}  // namespace aecodec
