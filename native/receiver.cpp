// SPDX-License-Identifier: Apache-2.0

#include "receiver.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "layers.hpp"
#include "strips.hpp"

namespace aecodec {

namespace {

constexpr std::size_t kGroups = 4;
constexpr int kRing = 4;       // rows of a stage that are kept: a 3x3 layer needs three, and those behind S(2) come in twos
constexpr int kWidest = 64;    // positions of y of a strip, without its halo: more do not stay in the cache
constexpr std::size_t kChunk = 64;  // positions of the renderer that go through all of its layers together

// 2^(30 + i / 64), rounded
constexpr std::array<std::int64_t, 65> kPowers = {
    1073741824, 1085434106, 1097253708, 1109202018, 1121280436, 1133490379, 1145833280, 1158310587, 1170923762, 1183674286,
    1196563654, 1209593378, 1222764986, 1236080024, 1249540052, 1263146652, 1276901417, 1290805962, 1304861917, 1319070932,
    1333434672, 1347954824, 1362633090, 1377471191, 1392470869, 1407633882, 1422962010, 1438457051, 1454120821, 1469955159,
    1485961921, 1502142985, 1518500250, 1535035634, 1551751076, 1568648537, 1585730000, 1602997467, 1620452965, 1638098541,
    1655936265, 1673968228, 1692196547, 1710623359, 1729250827, 1748081133, 1767116489, 1786359126, 1805811301, 1825475297,
    1845353420, 1865448001, 1885761398, 1906295993, 1927054196, 1948038440, 1969251188, 1990694927, 2012372174, 2034285470,
    2056437387, 2078830522, 2101467502, 2124350982, 2147483648};

// What a block reads: its input, and the output of its first layer with zeros around the picture.
struct Stage {
  const Mixer* mixer = nullptr;
  Ring<std::int16_t> x, entered;
  Span out;        // columns of the block's output
  int height = 0;  // of the picture
  int next = 0;    // row to be made
  const std::int16_t* outside = nullptr;

  Stage() = default;
  // in: the columns that are made, at least those of `out` and their neighbors
  Stage(Arena& arena, const Mixer& mixer_, Span in, Span out_, int height_, int first)
      : mixer(&mixer_),
        x(arena, in, mixer_.channels, kRing),
        entered(arena, {std::min(in.begin, out_.begin - 1), std::max(in.end, out_.end + 1)}, mixer_.channels, kRing),
        out(out_),
        height(height_),
        next(std::max(first, 0)),
        outside(arena.take<std::int16_t>((out_.size() + 2) * mixer_.channels)) {}

  const std::int16_t* entered_around(int row) const {
    return row < 0 || row >= height ? outside : entered.at(row, out.begin - 1);
  }
};

// scale() of a sum of up to 36 bits, whose product with the multiplier may need more than 64, cut to 0..255
std::uint8_t pixel(std::int64_t sum, std::int32_t multiplier, int shift) {
  if (sum <= 0) return 0;
  const std::int64_t low = (sum & 0xffff) * multiplier, high = (sum >> 16) * multiplier + (low >> 16);  // product >> 16
  std::int64_t value;
  if (shift > 16)
    value = (high + (std::int64_t{1} << (shift - 17))) >> (shift - 16);
  else if (high > 1 << 24)
    value = 255;
  else
    value = ((high << 16 | (low & 0xffff)) + (std::int64_t{1} << (shift - 1))) >> shift;
  return static_cast<std::uint8_t>(std::min<std::int64_t>(value, 255));
}

}  // namespace

// All layers, packed for a kernel.
struct Receiver::Network {
  Network(const Arrays& arrays, std::size_t N_, std::size_t M_, const Kernel& kernel_);

  const Kernel& kernel;
  std::size_t N, M, half, f_row;  // f_row: a position of [y0 of one half of the channels, f]
  std::size_t context = 0, body = 0, render = 0;
  Arena arena;
  std::array<Layer, 2> ups;
  std::array<Mixer, 2> up_blocks;
  Layer hyper_leave;
  const std::int32_t* hyper_gain = nullptr;
  Layer mean0_enter, step;
  std::array<Layer, 2> mean0_leave, mean1_enter, mean1_leave;  // for the two halves of the channels
  Mixer mean0_block, mean1_block;
  const std::int32_t* y_gain = nullptr;
  Layer body_enter;
  std::array<Mixer, 2> body_blocks;
  std::array<const std::int32_t*, 2> body_gains{};
  Layer latent, condition, shift, scale, gate, expand, reduce, leave;
};

Receiver::Network::Network(const Arrays& arrays, std::size_t N_, std::size_t M_, const Kernel& kernel_)
    : kernel(kernel_), N(N_), M(M_), half(M_ / 2), f_row(half + M_) {
  Reader reader(arrays);
  Packer packer(reader, kernel, arena);
  if (N == 0 || N % kGroups != 0) throw std::invalid_argument("N is " + std::to_string(N) + ", not a multiple of 4");
  if (M == 0 || M % 2 != 0) throw std::invalid_argument("M is " + std::to_string(M) + ", not even");
  for (std::size_t i = 0; i < 2; ++i) {
    const std::string number = std::to_string(i);
    ups[i] = packer.layer("h_s.ups." + number, N, 4 * N, {kGroups, 4});
    up_blocks[i] = Mixer(packer, "h_s.blocks." + number, N, 2 * N, kGroups);
  }
  hyper_leave = packer.pack(packer.source("h_s.leave", M, N, 0));
  hyper_gain = packer.gain("h_s.gain", M);

  context = reader.rows("mean0.enter.weight");
  if (context % kGroups != 0) Reader::fail("mean0.enter.weight", "has rows that are not a multiple of 4");
  mean0_enter = packer.layer("mean0.enter", M, context);
  mean0_block = Mixer(packer, "mean0.block", context, 2 * context, kGroups);
  step = packer.layer("mean0.step", context, M);
  mean1_block = Mixer(packer, "mean1.block", context, 2 * context, kGroups);
  const Source enter = packer.source("mean1.enter", context, 2 * M, context);
  const Source leave0 = packer.source("mean0.leave", M, context, M), leave1 = packer.source("mean1.leave", M, context, M);
  for (std::size_t h = 0; h < 2; ++h) {
    Order order;
    for (std::size_t c = 0; c < half; ++c) order.columns.push_back(h * half + c);
    for (std::size_t c = 0; c < M; ++c) order.columns.push_back(M + c);
    mean1_enter[h] = packer.pack(enter, order);
    mean0_leave[h] = packer.pack(leave0, {1, 1, h * half, half});
    mean1_leave[h] = packer.pack(leave1, {1, 1, h * half, half});
  }

  y_gain = packer.gain("g_s.y_gain", M);
  body = reader.rows("g_s.enter.weight");
  body_enter = packer.layer("g_s.enter", M, body);
  for (std::size_t i = 0; i < 2; ++i) {
    const std::string name = "g_s.blocks." + std::to_string(i);
    body_blocks[i] = Mixer(packer, name, body, reader.rows(name + ".expand.weight"), 1);
    body_gains[i] = packer.gain("g_s.gains." + std::to_string(i), body);
  }
  render = reader.rows("g_s.shift.weight");
  latent = packer.layer("g_s.latent", M, 16 * render, {1, 16});
  condition = packer.layer("g_s.condition", body, 16 * render, {1, 16});
  shift = packer.layer("g_s.shift", render, render);
  scale = packer.layer("g_s.scale", render, render);
  gate = packer.layer("g_s.gate", render, render);
  expand = packer.layer("g_s.expand", render, render);
  reduce = packer.layer("g_s.reduce", render, render);
  leave = packer.pack(packer.source("g_s.leave", 48, render, 1), {1, 16});
  reader.finish();
}

// What is asked for: symbols, and where results of an area go. REQUIRES: Receiver::require().
struct Receiver::Request {
  const SymbolWindow& symbols;
  Box cells;    // the area, in positions of y
  Box window;   // likewise
  Box frame{};  // of `pixels`, in factor x factor pixels
  int factor = 1;
  std::uint8_t* pixels = nullptr;
  std::size_t row_bytes = 0;
  std::int32_t* y_hat = nullptr;
  std::int32_t* step = nullptr;
  std::int32_t* mean0 = nullptr;
  const Latent* latent = nullptr;  // what symbols are made from, in place of y
  std::int16_t* coded = nullptr;
  std::int32_t *coded_step = nullptr, *coded_mean = nullptr;  // may be missing
  // Gains of the level:
  std::vector<std::int32_t> hyper_gain{}, y_gain{};
  std::array<std::vector<std::int32_t>, 2> body_gains{};

  Request(const Network& network, const SymbolWindow& symbols_, int level, const Box& area);
};

Receiver::Request::Request(const Network& n, const SymbolWindow& symbols_, int level, const Box& area)
    : symbols(symbols_), cells(area.reduced(kYStride)), window(symbols_.window.reduced(kYStride)) {
  const int place = 7 * (level - kMinLevel), low = std::min(place / kSpread, 6), part = place - kSpread * low;
  const auto at_level = [&](const std::int32_t* anchors, std::size_t channels) {
    std::vector<std::int32_t> gains(channels + kSlack);
    const std::int32_t* from = anchors + unsigned_(low) * channels;
    for (std::size_t c = 0; c < channels; ++c) {
      const std::int64_t v = (std::int64_t{from[c]} * (kSpread - part) + std::int64_t{from[channels + c]} * part) / kSpread;
      const auto i = static_cast<std::size_t>((v & 65535) >> 10);
      const std::int64_t t = kPowers[i] + (((kPowers[i + 1] - kPowers[i]) * (v & 1023)) >> 10);
      gains[c] = static_cast<std::int32_t>(t >> (30 - (v >> 16)));
    }
    return gains;
  };
  hyper_gain = at_level(n.hyper_gain, n.M);
  y_gain = at_level(n.y_gain, n.M);
  for (std::size_t i = 0; i < 2; ++i) body_gains[i] = at_level(n.body_gains[i], n.body);
}

// Goes through a part of the area from its top to its bottom, so that memory depends on the part's width alone. Each stage
// is asked for a row, and asks the one before it for the row below, which its 3x3 layer looks at.
class Receiver::Strip {
 public:
  Strip(const Network& network, const Request& request, const Box& cells);
  void run();

 private:
  void enter(const Stage& stage, int row);
  void mix(const Stage& stage, int row, Finish finish, std::int16_t* out, const std::int32_t* gain = nullptr);
  void up(const Layer& layer, const std::int16_t* x, std::size_t positions, Stage& to);
  void need_coarse(int row);
  void need_middle(int row);
  void need_features(int row);
  void need_first(int row);
  void need_second(int row);
  void need_body(int row);
  void render(int row);
  void average(std::int16_t* x) const;
  void write_pixels(int row, std::size_t first, std::size_t positions);
  void read_symbols(int row, std::size_t half, int column, std::size_t positions);
  void code_symbols(int row, std::size_t half, int column, std::size_t positions);
  template <typename T>
  void write(T* to, int row, std::size_t channel, std::size_t channels, int column, int apart, const T* from,
             std::size_t positions) const;

  void pointwise(const Layer& layer, Finish finish, const Job& job) { n_.kernel.pointwise(layer, finish, job); }

  // The channels of y that the first step gives at a position: those of the first half or those of the second.
  std::size_t first_half(int row, int column) const { return unsigned_((row + column) % 2); }

  const Network& n_;
  const Request& r_;
  const Box cells_;
  const int height_, width_;  // of the picture, in positions of y
  Arena arena_;
  Layer hyper_leave_;
  Stage coarse_, middle_;         // h_s.blocks at 1/32, 1/16
  Stage first_, second_;          // mean0.block, mean1.block
  std::array<Stage, 2> body_;     // g_s.blocks
  Ring<std::int16_t> features_;   // [y0 of a half, f]
  Ring<std::int32_t> step_, y_hat_;
  Ring<std::int16_t> u_;
  std::size_t side_;  // positions of the renderer in one of y, in a row
  // What lives within a row:
  std::int16_t *z_, *up_, *spatial_, *mixed_, *hidden_, *out_, *symbols_;
  std::int32_t *mean_, *sums_;
  std::int16_t *x_, *k_, *shift_, *v_, *expanded_, *gate_, *rgb_;
};

Receiver::Strip::Strip(const Network& n, const Request& r, const Box& cells)
    : n_(n),
      r_(r),
      cells_(cells),
      height_(r.symbols.padded.height / kYStride),
      width_(r.symbols.padded.width / kYStride),
      hyper_leave_(n.hyper_leave),
      side_(r.factor == 8 ? 2 : 4) {
  const Span core{cells.left, cells.right};
  const auto span = [&](int halo) { return core.grown(halo, width_); };
  const int top = cells.top;
  body_[1] = Stage(arena_, n.body_blocks[1], span(1), core, height_, top - 1);
  body_[0] = Stage(arena_, n.body_blocks[0], span(2), span(1), height_, top - 2);
  second_ = Stage(arena_, n.mean1_block, span(3), span(2), height_, top - 3);
  first_ = Stage(arena_, n.mean0_block, span(4), span(3), height_, top - 4);
  const Span middle = span(5).halved(), coarse = middle.grown(1, width_ / 2).halved();
  middle_ = Stage(arena_, n.up_blocks[1], middle.doubled(), span(4), height_, std::max(top - 5, 0) / 2 * 2);
  coarse_ = Stage(arena_, n.up_blocks[0], coarse.doubled(), middle, height_ / 2, std::max(middle_.next / 2 - 1, 0) / 2 * 2);
  features_ = Ring<std::int16_t>(arena_, span(4), n.f_row, kRing);
  step_ = Ring<std::int32_t>(arena_, span(3), n.M, kRing);
  y_hat_ = Ring<std::int32_t>(arena_, span(3), n.M, kRing);
  u_ = Ring<std::int16_t>(arena_, span(3), n.M, kRing);
  hyper_leave_.multiplier = r.hyper_gain.data();

  const std::size_t widest = middle.doubled().size(), positions = core.size() * side_ * side_;
  const std::size_t channels = std::max({n.N, n.context, n.body}), hidden = std::max({2 * n.N, 2 * n.context,
                                         n.body_blocks[0].hidden, n.body_blocks[1].hidden});
  z_ = arena_.take<std::int16_t>(coarse.size() * n.N);
  up_ = arena_.take<std::int16_t>(widest * 4 * n.N);
  spatial_ = arena_.take<std::int16_t>(widest * channels);
  mixed_ = arena_.take<std::int16_t>(widest * channels);
  hidden_ = arena_.take<std::int16_t>(widest * hidden);
  out_ = arena_.take<std::int16_t>(widest * channels);
  symbols_ = arena_.take<std::int16_t>(widest * n.half);
  mean_ = arena_.take<std::int32_t>(widest * n.half);
  x_ = arena_.take<std::int16_t>(core.size() * 16 * n.render);
  k_ = arena_.take<std::int16_t>(core.size() * 16 * n.render);
  const std::size_t chunk = std::min(kChunk, positions);
  for (std::int16_t** part : {&shift_, &v_, &expanded_, &gate_}) *part = arena_.take<std::int16_t>(chunk * n.render);
  rgb_ = arena_.take<std::int16_t>(chunk * 48);
  sums_ = arena_.take<std::int32_t>(chunk * 48);
}

void Receiver::Strip::run() {
  for (int row = cells_.top; row < cells_.bottom; ++row) {
    if (r_.pixels != nullptr) {
      render(row);
    } else if (r_.mean0 != nullptr) {
      need_first(row);
    } else {
      need_second(row);
    }
  }
}

void Receiver::Strip::enter(const Stage& stage, int row) {
  const std::size_t channels = stage.mixer->channels;
  const Span in = stage.x.span;
  pointwise(stage.mixer->enter, Finish::kStore,
            {stage.x.at(row), channels, in.size(), stage.entered.at(row, in.begin), channels});
}

// A row of block(), finish: kAdd, or kAddGain with the gain behind it
void Receiver::Strip::mix(const Stage& stage, int row, Finish finish, std::int16_t* out, const std::int32_t* gain) {
  const Mixer& mixer = *stage.mixer;
  const std::size_t channels = mixer.channels, positions = stage.out.size();
  const std::int16_t* rows[3] = {stage.entered_around(row - 1), stage.entered_around(row), stage.entered_around(row + 1)};
  n_.kernel.depthwise(mixer.spatial, rows, positions, spatial_);
  pointwise(mixer.leave, Finish::kAdd,
            {spatial_, channels, positions, mixed_, channels, stage.x.at(row, stage.out.begin)});
  pointwise(mixer.expand, Finish::kAct, {mixed_, channels, positions, hidden_, mixer.hidden});
  pointwise(mixer.reduce, finish, {hidden_, mixer.hidden, positions, out, channels, mixed_, nullptr, gain});
}

// The next two rows of a stage behind S(2) of a layer. Its outputs are [place in 2x2, channel].
void Receiver::Strip::up(const Layer& layer, const std::int16_t* x, std::size_t positions, Stage& to) {
  pointwise(layer, Finish::kStore, {x, n_.N, positions, up_, 4 * n_.N});
  for (int a = 0; a < 2; ++a) {
    std::int16_t* row = to.x.at(to.next);
    for (std::size_t p = 0; p < positions; ++p)
      std::memcpy(row + p * 2 * n_.N, up_ + (p * 2 + unsigned_(a)) * 2 * n_.N, 2 * n_.N * sizeof *row);
    enter(to, to.next++);
  }
}

void Receiver::Strip::need_coarse(int row) {
  const Span span{coarse_.x.span.begin / 2, coarse_.x.span.end / 2};
  const Box window = r_.symbols.window.reduced(kStride);
  while (coarse_.next <= row) {
    const int from = coarse_.next / 2;
    for (std::size_t c = 0; c < n_.N; ++c) {
      const std::int8_t* z = r_.symbols.z + (c * unsigned_(window.height()) + unsigned_(from - window.top)) * unsigned_(window.width()) +
                             (span.begin - window.left);
      for (std::size_t p = 0; p < span.size(); ++p) z_[p * n_.N + c] = z[p];
    }
    up(n_.ups[0], z_, span.size(), coarse_);
  }
}

void Receiver::Strip::need_middle(int row) {
  while (middle_.next <= row) {
    const int from = middle_.next / 2;
    need_coarse(std::min(from + 1, coarse_.height - 1));
    mix(coarse_, from, Finish::kAdd, out_);
    up(n_.ups[1], out_, coarse_.out.size(), middle_);
  }
}

void Receiver::Strip::need_features(int row) {
  for (; first_.next <= row; ++first_.next) {
    const int at = first_.next;
    need_middle(std::min(at + 1, height_ - 1));
    mix(middle_, at, Finish::kAdd, out_);
    const std::size_t positions = middle_.out.size();
    std::int16_t* f = features_.at(at) + n_.half;
    pointwise(hyper_leave_, Finish::kStore, {out_, n_.N, positions, f, n_.f_row});
    pointwise(n_.mean0_enter, Finish::kStore, {f, n_.f_row, positions, first_.x.at(at), n_.context});
    enter(first_, at);
  }
}

// Steps and means of the first half of the positions. Positions of one parity have the same half of the channels in it.
void Receiver::Strip::need_first(int row) {
  for (; second_.next <= row; ++second_.next) {
    const int at = second_.next;
    need_features(std::min(at + 1, height_ - 1));
    mix(first_, at, Finish::kAdd, out_);
    const Span span = first_.out;
    pointwise(n_.step, Finish::kStep, {out_, n_.context, span.size(), step_.at(at), n_.M});
    if (r_.coded_step != nullptr) write(r_.coded_step, at, 0, n_.M, span.begin, 1, step_.at(at), span.size());
    for (int parity = 0; parity < 2 && unsigned_(parity) < span.size(); ++parity) {
      const int column = span.begin + parity;
      const std::size_t h = first_half(at, column), positions = (span.size() - unsigned_(parity) + 1) / 2;
      pointwise(n_.mean0_leave[h], Finish::kWide,
                {out_ + unsigned_(parity) * n_.context, 2 * n_.context, positions, mean_, n_.half});
      if (r_.mean0 != nullptr) {
        write(r_.mean0, at, h * n_.half, n_.half, column, 2, mean_, positions);
        continue;
      }
      read_symbols(at, h, column, positions);
      for (std::size_t p = 0; p < positions; ++p) {
        const int place = column + 2 * static_cast<int>(p);
        std::int16_t* y0 = features_.at(at, place);
        const std::size_t c = h * n_.half;
        n_.kernel.dequantize({n_.half, mean_ + p * n_.half, step_.at(at, place) + c, symbols_ + p * n_.half,
                              r_.y_gain.data() + c, y_hat_.at(at, place) + c, y0, u_.at(at, place) + c});
      }
      pointwise(n_.mean1_enter[h], Finish::kStore,
                {features_.at(at, column), 2 * n_.f_row, positions, second_.x.at(at, column), 2 * n_.context});
    }
    if (r_.mean0 != nullptr) {
      write(r_.step, at, 0, n_.M, span.begin, 1, step_.at(at), span.size());
    } else {
      enter(second_, at);
    }
  }
}

// Means of the other positions: then all of y_hat is known.
void Receiver::Strip::need_second(int row) {
  for (; body_[0].next <= row; ++body_[0].next) {
    const int at = body_[0].next;
    need_first(std::min(at + 1, height_ - 1));
    mix(second_, at, Finish::kAdd, out_);
    const Span span = second_.out;
    for (int parity = 0; parity < 2 && unsigned_(parity) < span.size(); ++parity) {
      const int column = span.begin + parity;
      const std::size_t h = 1 - first_half(at, column), c = h * n_.half;
      const std::size_t positions = (span.size() - unsigned_(parity) + 1) / 2;
      pointwise(n_.mean1_leave[h], Finish::kWide,
                {out_ + unsigned_(parity) * n_.context, 2 * n_.context, positions, mean_, n_.half});
      read_symbols(at, h, column, positions);
      for (std::size_t p = 0; p < positions; ++p) {
        const int place = column + 2 * static_cast<int>(p);
        n_.kernel.dequantize({n_.half, mean_ + p * n_.half, step_.at(at, place) + c, symbols_ + p * n_.half,
                              r_.y_gain.data() + c, y_hat_.at(at, place) + c, nullptr, u_.at(at, place) + c});
      }
    }
    if (r_.y_hat != nullptr) write(r_.y_hat, at, 0, n_.M, span.begin, 1, y_hat_.at(at, span.begin), span.size());
    if (r_.pixels == nullptr) continue;
    pointwise(n_.body_enter, Finish::kStore, {u_.at(at, span.begin), n_.M, span.size(), body_[0].x.at(at), n_.body});
    enter(body_[0], at);
  }
}

void Receiver::Strip::need_body(int row) {
  for (; body_[1].next <= row; ++body_[1].next) {
    const int at = body_[1].next;
    need_second(std::min(at + 1, height_ - 1));
    mix(body_[0], at, Finish::kAddGain, body_[1].x.at(at), r_.body_gains[0].data());
    enter(body_[1], at);
  }
}

void Receiver::Strip::render(int row) {
  need_body(std::min(row + 1, height_ - 1));
  mix(body_[1], row, Finish::kAddGain, out_, r_.body_gains[1].data());
  const std::size_t cells = body_[1].out.size(), channels = 16 * n_.render;
  const bool averaged = r_.factor == 8;
  pointwise(n_.latent, Finish::kStore, {u_.at(row, cells_.left), n_.M, cells, x_, channels});
  pointwise(n_.condition, averaged ? Finish::kStore : Finish::kAct, {out_, n_.body, cells, k_, channels});
  if (averaged) {
    average(x_);
    average(k_);
    const int fraction = n_.condition.fraction;
    for (std::size_t i = 0; i < 4 * cells * n_.render; ++i) {
      const int slope = std::clamp(((k_[i] * 9830) >> fraction) + 16384, 0, 32768);
      k_[i] = static_cast<std::int16_t>((k_[i] * slope + 16384) >> 15);
    }
  }
  const std::size_t positions = cells * side_ * side_, R = n_.render;
  for (std::size_t first = 0; first < positions; first += kChunk) {
    const std::size_t count = std::min(kChunk, positions - first);
    std::int16_t *x = x_ + first * R, *k = k_ + first * R;
    pointwise(n_.shift, Finish::kStore, {k, R, count, shift_, R});
    pointwise(n_.scale, Finish::kModulate, {k, R, count, v_, R, x, shift_});
    pointwise(n_.expand, Finish::kAct, {v_, R, count, expanded_, R});
    pointwise(n_.gate, Finish::kStore, {k, R, count, gate_, R});
    pointwise(n_.reduce, Finish::kGate, {expanded_, R, count, v_, R, x, gate_});
    if (r_.factor == 1) {
      pointwise(n_.leave, Finish::kPixel, {v_, R, count, rgb_, 48});
    } else {
      pointwise(n_.leave, Finish::kSum, {v_, R, count, sums_, 48});
    }
    write_pixels(row, first, count);
  }
}

// Positions of a row of cells, [cell, row, column, channel], in place: the mean of each 2x2 of the 4x4
void Receiver::Strip::average(std::int16_t* x) const {
  const std::size_t R = n_.render;
  for (std::size_t to = 0; to < body_[1].out.size() * 4; ++to) {  // never beyond what it reads
    const std::int16_t* from = x + (to / 4 * 16 + to / 2 % 2 * 8 + to % 2 * 2) * R;
    for (std::size_t c = 0; c < R; ++c)
      x[to * R + c] = static_cast<std::int16_t>((from[c] + from[R + c] + from[4 * R + c] + from[5 * R + c] + 2) >> 2);
  }
}

// What is visible of the pixels of positions first .. first + count - 1 of a row of cells
void Receiver::Strip::write_pixels(int row, std::size_t first, std::size_t count) {
  const int factor = r_.factor, side = static_cast<int>(side_);
  const int pixels = kYStride / factor / side;  // in a row of a position
  const int merged = 4 / pixels;                // of the last layer's for one that is shown
  const std::int32_t multiplier = n_.leave.multiplier[0];
  const int shift = n_.leave.shift + (merged == 4 ? 4 : merged == 2 ? 2 : 0);
  for (std::size_t p = 0; p < count; ++p) {
    const std::size_t place = first + p, cell = place / (side_ * side_);
    const int top = row * (kYStride / factor) + static_cast<int>(place / side_ % side_) * pixels;
    const int left = (cells_.left + static_cast<int>(cell)) * (kYStride / factor) + static_cast<int>(place % side_) * pixels;
    const int begin = std::max(r_.frame.left - left, 0), end = std::min(r_.frame.right - left, pixels);
    for (int a = std::max(r_.frame.top - top, 0); a < std::min(r_.frame.bottom - top, pixels) && begin < end; ++a) {
      std::uint8_t* out = r_.pixels + unsigned_(top + a - r_.frame.top) * r_.row_bytes + unsigned_(left + begin - r_.frame.left) * 3;
      if (factor == 1) {
        const std::int16_t* rgb = rgb_ + p * 48 + unsigned_(a) * 12;
        if (end - begin == 4) {
          for (std::size_t i = 0; i < 12; ++i) out[i] = static_cast<std::uint8_t>(rgb[i]);
        } else {
          for (int i = 3 * begin; i < 3 * end; ++i) *out++ = static_cast<std::uint8_t>(rgb[i]);
        }
        continue;
      }
      for (int b = begin; b < end; ++b) {
        for (int c = 0; c < 3; ++c) {
          std::int64_t sum = 0;
          for (int i = 0; i < merged; ++i)
            for (int j = 0; j < merged; ++j)
              sum += sums_[p * 48 + unsigned_(((a * merged + i) * 4 + b * merged + j) * 3 + c)];
          *out++ = pixel(sum, multiplier, shift);
        }
      }
    }
  }
}

// Symbols [positions, M / 2] of every other position of a row from `column` on, whose means are in mean_
void Receiver::Strip::read_symbols(int row, std::size_t half, int column, std::size_t positions) {
  if (r_.latent != nullptr) return code_symbols(row, half, column, positions);
  const std::size_t plane = unsigned_(r_.window.height()) * unsigned_(r_.window.width());
  const std::int16_t* y = r_.symbols.y + half * n_.half * plane + unsigned_(row - r_.window.top) * unsigned_(r_.window.width()) +
                          (column - r_.window.left);
  constexpr std::size_t kTogether = 8;  // channels: writes one beside the other
  for (std::size_t c = 0; c < n_.half; c += kTogether, y += kTogether * plane) {
    const std::size_t channels = std::min(kTogether, n_.half - c);
    for (std::size_t p = 0; p < positions; ++p)
      for (std::size_t i = 0; i < channels; ++i) symbols_[p * n_.half + c + i] = y[i * plane + 2 * p];
  }
}

// Likewise, from what an encoder codes
void Receiver::Strip::code_symbols(int row, std::size_t half, int column, std::size_t positions) {
  const Latent& latent = *r_.latent;
  const Box window = latent.window.reduced(kYStride);
  const std::size_t plane = unsigned_(height_) * unsigned_(width_), first = half * n_.half;
  for (std::size_t p = 0; p < positions; ++p) {
    const int place = column + 2 * static_cast<int>(p);
    const bool known = window.left <= place && place < window.right && window.top <= row && row < window.bottom;
    const float* y = latent.y + (unsigned_(row - window.top) * unsigned_(window.width()) + unsigned_(place - window.left)) * n_.M;
    const std::uint8_t* index = latent.index + first * plane + unsigned_(row) * unsigned_(width_) + unsigned_(place);
    const std::int32_t *mean = mean_ + p * n_.half, *step = step_.at(row, place) + first;
    std::int16_t* symbols = symbols_ + p * n_.half;
    for (std::size_t c = 0; c < n_.half; ++c) {
      const float value = (known ? y[first + c] : 0) * 4096 / static_cast<float>(step[c]) - static_cast<float>(mean[c]) / 256;
      const float zone = latent.dead_zone[index[c * plane] & 63];
      symbols[c] = std::abs(value) >= zone ? static_cast<std::int16_t>(std::nearbyint(std::clamp(value, -32767.f, 32767.f))) : 0;
    }
  }
  write(r_.coded, row, first, n_.half, column, 2, symbols_, positions);
  if (r_.coded_mean != nullptr) write(r_.coded_mean, row, first, n_.half, column, 2, mean_, positions);
}

// What the strip is asked for of `channels` from `channel` on, of positions `apart` columns apart from each other
template <typename T>
void Receiver::Strip::write(T* to, int row, std::size_t channel, std::size_t channels, int column, int apart, const T* from,
                            std::size_t positions) const {
  if (row < cells_.top || row >= cells_.bottom) return;
  const std::size_t width = unsigned_(r_.cells.width()), plane = unsigned_(r_.cells.height()) * width;
  to += channel * plane + unsigned_(row - r_.cells.top) * width;
  for (std::size_t p = 0; p < positions; ++p, column += apart) {
    if (column < cells_.left || column >= cells_.right) continue;
    for (std::size_t c = 0; c < channels; ++c)
      to[c * plane + unsigned_(column - r_.cells.left)] = from[p * channels + c];
  }
}

Receiver::Receiver(const Arrays& arrays, std::size_t N, std::size_t M, const Kernel& kernel)
    : N_(N), M_(M), network_(std::make_unique<const Network>(arrays, N, M, kernel)) {}
Receiver::~Receiver() = default;
Receiver::Receiver(Receiver&&) noexcept = default;

// Stages look beyond a strip as far as the picture goes, those of the means farthest.
Strips Receiver::strips(Size padded, const Box& area, int threads) {
  constexpr struct {
    double share;  // of the work
    int halo;      // positions of y
  } kStages[] = {{0.47, 0}, {0.22, 1}, {0.22, 3}, {0.09, 5}};
  return best_strips(area.reduced(kYStride), kWidest, threads, [&](int width, int height) {
    double cost = 0;
    for (const auto& stage : kStages)
      cost += stage.share * std::min(width + 2 * stage.halo, padded.width / kYStride) *
              std::min(height + 2 * stage.halo, padded.height / kYStride);
    return cost;
  });
}

void Receiver::run(const Request& request, int threads) const {
  const Box& cells = request.cells;
  const Box area{cells.left * kYStride, cells.top * kYStride, cells.right * kYStride, cells.bottom * kYStride};
  for_strips(cells, strips(request.symbols.padded, area, threads), threads,
             [&](const Box& strip) { Strip(*network_, request, strip).run(); });
}

void Receiver::require(const Box& window, Size padded, int level, const Box& area, int factor) {
  require_padded(padded);
  if (!within(area, padded)) throw std::invalid_argument("the area is not within the padded picture");
  if (!within(window, padded) || !(window == window.aligned(kStride)))
    throw std::invalid_argument("the window is not of whole positions of z within the padded picture");
  const Box needed = area.aligned(kStride).grown(kReceiverHalo, {0, 0, padded.width, padded.height});
  if (!(needed == needed.intersection(window))) throw std::invalid_argument("the window does not hold all that the area needs");
  require_level(level);
  if (factor != 1 && factor != 2 && factor != 4 && factor != 8)
    throw std::invalid_argument("factor is " + std::to_string(factor) + ", not 1, 2, 4 or 8");
}

void Receiver::render(const SymbolWindow& symbols, int level, const Box& area, int factor, int threads, std::uint8_t* out,
                      std::size_t row_bytes) const {
  require(symbols.window, symbols.padded, level, area, factor);
  Request request(*network_, symbols, level, area);
  request.frame = area.reduced(factor);
  request.factor = factor;
  request.pixels = out;
  request.row_bytes = row_bytes;
  run(request, threads);
}

void Receiver::y_hat(const SymbolWindow& symbols, int level, const Box& area, int threads, std::int32_t* out) const {
  require(symbols.window, symbols.padded, level, area);
  Request request(*network_, symbols, level, area);
  request.y_hat = out;
  run(request, threads);
}

void Receiver::predict_first(const SymbolWindow& symbols, int level, const Box& area, int threads, std::int32_t* step,
                             std::int32_t* mean) const {
  require(symbols.window, symbols.padded, level, area);
  Request request(*network_, symbols, level, area);
  request.step = step;
  request.mean0 = mean;
  run(request, threads);
}

void Receiver::quantize(const SymbolWindow& symbols, const Latent& latent, int level, const Box& area, int threads,
                        std::int16_t* out, std::int32_t* step, std::int32_t* mean) const {
  require(symbols.window, symbols.padded, level, area);
  Request request(*network_, symbols, level, area);
  request.latent = &latent;
  request.coded = out;
  request.coded_step = step;
  request.coded_mean = mean;
  run(request, threads);
}

}  // namespace aecodec
