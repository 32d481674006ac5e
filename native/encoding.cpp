// SPDX-License-Identifier: Apache-2.0

#include "encoding.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <deque>
#include <functional>
#include <limits>
#include <stdexcept>
#include <string>

#include "error.hpp"
#include "layers.hpp"
#include "parallel.hpp"

namespace aecodec {
namespace {

constexpr int kReach = 64;             // symbols whose bits are told apart
constexpr double kErrorWorth = 1.1;    // from one quality to the next, less error costs more bits than the loss says
constexpr double kCurvature = 15;      // bits per squared quantization step
constexpr double kCurved = 0.6;        // share of the anchor axis from which on it is larger where a model says so
constexpr std::int32_t kMeanHalo = 32;       // around an area of y that its means depend on
constexpr std::int32_t kStrip = 512;         // height of what is worked on at once, in pixels
constexpr std::int32_t kStripPixels = 1 << 22;  // at most, as far as strips may be as low
constexpr std::int32_t kLowest = kGradientHalo + kStride + kReceiverHalo;  // no stage looks beyond the next strip
constexpr std::int32_t kRefinedWidth = 4096;    // pixels that are refined side by side at once, so that memory is bounded

std::size_t cells(std::int32_t side, std::int32_t stride) { return static_cast<std::size_t>(side / stride); }

// Of IEEE 754, 16 bits. What is none becomes one beyond all bounds.
float half(std::uint16_t bits) {
  const int exponent = bits >> 10 & 31;
  const float fraction = static_cast<float>(bits & 1023) / 1024;
  const float size = exponent == 0    ? std::ldexp(fraction, -14)
                     : exponent == 31 ? std::numeric_limits<float>::infinity()
                                      : std::ldexp(1 + fraction, exponent - 15);
  return bits >> 15 ? -size : size;
}

// Arrays in float32, and what holds them.
class Floats {
 public:
  Floats(const Weights& weights, const std::vector<std::string>& prefixes) {
    for (const auto& [name, array] : weights.arrays("network."))
      for (const std::string& prefix : prefixes)
        if (name.compare(0, prefix.size(), prefix) == 0) add(name, array);
  }

  Arrays arrays;

 private:
  void add(const std::string& name, ArrayView array) {
    if (array.type == Type::kF16) {
      const auto* from = static_cast<const std::uint16_t*>(array.data);
      held_.emplace_back(array.size());
      std::transform(from, from + array.size(), held_.back().begin(), half);
      array.type = Type::kF32;
      array.data = held_.back().data();
    }
    arrays.emplace(name, std::move(array));
  }

  std::deque<std::vector<float>> held_;
};

// A number as Python writes it into JSON, from `place` on, which moves behind it.
double number(const std::string& text, std::size_t& place) {
  double digits = 0;
  int exponent = 0;
  bool behind_point = false;
  for (; place < text.size(); ++place) {
    if (text[place] == '.' && !behind_point) {
      behind_point = true;
      continue;
    }
    if (text[place] < '0' || text[place] > '9') break;
    digits = 10 * digits + (text[place] - '0');
    exponent -= behind_point;
  }
  if (place < text.size() && text[place] == 'e') {
    const bool negative = ++place < text.size() && text[place] == '-';
    place += place < text.size() && (text[place] == '-' || text[place] == '+');
    int value = 0;
    for (; place < text.size() && text[place] >= '0' && text[place] <= '9' && value < 1000; ++place) value = 10 * value + (text[place] - '0');
    exponent += negative ? -value : value;
  }
  return exponent < 0 ? digits / std::pow(10.0, -exponent) : digits * std::pow(10.0, exponent);
}

// lambda at the first and the last anchor
std::pair<double, double> lambdas(const std::string& config) {
  constexpr char kName[] = "\"lmbdas\": [";
  const std::size_t found = config.find(kName);
  if (found == std::string::npos) return {0.00015, 0.2};  // as in aecodec/networks/config.py
  std::size_t place = found + sizeof kName - 1;
  const double low = number(config, place);
  if (config.compare(place, 2, ", ") == 0) place += 2;
  const double high = number(config, place);
  for (const double one : {low, high})
    if (!(one >= 1e-9 && one <= 1e3)) throw std::invalid_argument("lmbdas of the configuration are not 1e-9..1000");
  return {low, high};
}

// bits per squared quantization step at quality 100
double top_curvature(const std::string& config) {
  constexpr char kName[] = "\"top_curvature\": ";
  const std::size_t found = config.find(kName);
  if (found == std::string::npos) return kCurvature;
  std::size_t place = found + sizeof kName - 1;
  const double value = number(config, place);
  if (!(value >= 1 && value <= 1e3)) throw std::invalid_argument("top_curvature of the configuration is not 1..1000");
  return value;
}

// y [rows, columns, M] of a box of the picture
struct Latents {
  Box box;
  std::vector<float> y;
};

template <typename T>
void copy_planes(const std::vector<T>& from, std::size_t planes, const Box& box, std::size_t height, std::size_t width, T* to) {
  const auto rows = static_cast<std::size_t>(box.height()), columns = static_cast<std::size_t>(box.width());
  to += static_cast<std::size_t>(box.top) * width + static_cast<std::size_t>(box.left);
  for (std::size_t c = 0; c < planes; ++c)
    for (std::size_t i = 0; i < rows; ++i)
      std::copy_n(from.data() + (c * rows + i) * columns, columns, to + (c * height + i) * width);
}

}  // namespace

Effort Effort::of(int level) {
  constexpr int kSteps[] = {3, 5, 8, 12, 20, 40};  // of 4..9
  constexpr double kDeadZone = 0.001, kFirst = 0.5;
  if (level <= 0) return {};
  if (level == 1) return {kDeadZone};
  if (level == 2) return {kDeadZone, {0.35}};
  if (level == 3) return {kDeadZone, {0.5, 0.25}};
  Effort effort{kDeadZone};
  const int steps = kSteps[level - 4];
  const double last = 0.3 / steps;
  for (int step = 0; step < steps; ++step) effort.rates.push_back(kFirst + (last - kFirst) * step / (steps - 1));
  return effort;
}

// What is coded of one picture at one level.
class Encoder::Coding {
 public:
  using Source = std::function<void(const Box& strip, float* y)>;

  Coding(const Encoder& encoder, const std::uint8_t* pixels, const Header& header, const Effort& effort, int threads)
      : e_(encoder),
        pixels_(pixels),
        header_(header),
        effort_(effort),
        threads_(threads),
        padded_(header.padded()),
        size_{padded_.right, padded_.bottom},
        M_(encoder.prior_.M()),
        coder_(encoder.prior_, header.level),
        z_(encoder.prior_.N() * cells(size_.height, kStride) * cells(size_.width, kStride)),
        y_(M_ * height() * width()),
        index_(y_.size()) {
    for (std::size_t i = 0; i < kScales; ++i) {
      const float saved = bits(i, 1) - bits(i, 0);
      dead_zone_[i] = i < kSkipped ? std::numeric_limits<float>::infinity()
                                   : 0.5f + static_cast<float>(effort.dead_zone) * (saved * saved);
    }
  }

  static std::vector<Box> strips(const Box& padded) {
    const std::int32_t low = std::min(kStrip, kStripPixels / padded.right / kStride * kStride);
    return split(padded, padded.right, std::max(low, kLowest));
  }

  // z is one strip behind y and y_symbols one behind z (with gradients between, two), because each looks at what it is made from a
  // little above and below.
  File run(const Source& source) {
    const std::vector<Box> all = strips(padded_);
    using Stage = void (Coding::*)(const Box&);
    std::vector<Stage> stages{&Coding::hyper_analyze};
    if (!effort_.rates.empty()) stages.push_back(&Coding::refine);
    stages.push_back(&Coding::quantize);
    for (std::size_t time = 0; time < all.size() + stages.size(); ++time) {
      if (time < all.size()) {
        latents_.push_back({all[time], std::vector<float>(area(all[time]) * M_)});
        source(all[time], latents_.back().y.data());
      }
      for (std::size_t delay = 1; delay <= stages.size(); ++delay)
        if (delay <= time && time - delay < all.size()) (this->*stages[delay - 1])(all[time - delay]);
    }
    return write();
  }

 private:
  static std::vector<Box> split(const Box& box, std::int32_t width, std::int32_t height) {
    std::vector<Box> parts;
    for (std::int32_t top = box.top; top < box.bottom; top += height)
      for (std::int32_t left = box.left; left < box.right; left += width)
        parts.push_back(Box{left, top, left + width, top + height}.intersection(box));
    return parts;
  }

  static std::size_t area(const Box& box) { return cells(box.height(), kYStride) * cells(box.width(), kYStride); }
  std::size_t width() const { return cells(size_.width, kYStride); }
  std::size_t height() const { return cells(size_.height, kYStride); }
  float bits(std::size_t table, int symbol) const {
    return e_.bits_[table * (2 * kReach + 1) + static_cast<std::size_t>(kReach + symbol)];
  }

  // What is known of y there
  Latents gather(const Box& region) const {
    Latents found{region, std::vector<float>(area(region) * M_)};
    for (const Latents& strip : latents_) {
      const Box shared = strip.box.intersection(region);
      if (shared.empty()) continue;
      copy(strip, shared, found);
    }
    return found;
  }

  // Of a part of both
  void copy(const Latents& from, const Box& part, Latents& to) const {
    const auto place = [&](const Latents& all, std::int32_t row) {
      return (cells(row - all.box.top, kYStride) * cells(all.box.width(), kYStride) + cells(part.left - all.box.left, kYStride)) * M_;
    };
    for (std::int32_t row = part.top; row < part.bottom; row += kYStride)
      std::copy_n(from.y.data() + place(from, row), cells(part.width(), kYStride) * M_, to.y.data() + place(to, row));
  }

  void hyper_analyze(const Box& strip) {
    const Latents seen = gather(strip.grown(kHyperHalo, padded_));
    const std::size_t N = e_.prior_.N(), rows = cells(strip.height(), kStride), columns = cells(strip.width(), kStride);
    std::vector<std::int8_t> z(N * rows * columns);
    e_.networks_.analysis.hyper_analyze(seen.y.data(), seen.box, size_, header_.level, strip, threads_, z.data());
    copy_planes(z, N, strip.reduced(kStride), cells(size_.height, kStride), columns, z_.data());
    coder_.index(rows, columns, {z.data(), rows * columns, columns},
                 {index_.data() + cells(strip.top, kYStride) * width(), height() * width(), width()});
  }

  void refine(const Box& strip) {
    Latents& own = *std::find_if(latents_.begin(), latents_.end(), [&](const Latents& one) { return one.box == strip; });
    Latents refined{strip, std::vector<float>(own.y.size())};
    for (const Box& part : split(strip, kRefinedWidth, strip.height())) copy(refine_part(part), part, refined);
    own = std::move(refined);
  }

  Latents refine_part(const Box& part) const {
    const Box seen = part.grown(kGradientHalo, padded_);
    Latents moving = gather(seen.grown(kMeanHalo, padded_)), window{seen, std::vector<float>(area(seen) * M_)};
    Latents refined{part, std::vector<float>(area(part) * M_)};
    std::vector<std::int16_t> symbols(window.y.size());
    std::vector<std::int32_t> step(window.y.size()), mean(window.y.size());
    const Gradient::Costs costs{index_.data(), e_.bits_.data(), kScales, kReach, e_.error_weight(header_.level)};
    for (const double rate : effort_.rates) {
      quantize(moving, seen, symbols.data(), step.data(), mean.data());
      copy(moving, seen, window);
      e_.networks_.gradient.move(pixels_, {header_.width, header_.height}, header_.level,
                                 {window.y.data(), symbols.data(), step.data(), mean.data(), seen}, costs,
                                 {static_cast<float>(rate), e_.curvature(header_.level)}, part, threads_, refined.y.data());
      copy(refined, part, moving);
    }
    return refined;
  }

  void quantize(const Latents& y, const Box& area, std::int16_t* out, std::int32_t* step = nullptr,
                std::int32_t* mean = nullptr) const {
    e_.receiver_.quantize({z_.data(), nullptr, padded_, size_}, {y.y.data(), y.box, index_.data(), dead_zone_}, header_.level, area,
                          threads_, out, step, mean);
  }

  void quantize(const Box& strip) {
    std::vector<std::int16_t> symbols(area(strip) * M_);
    quantize(gather(strip.grown(kMeanHalo, padded_)), strip, symbols.data());
    copy_planes(symbols, M_, strip.reduced(kYStride), height(), width(), y_.data());
    while (latents_.front().box.bottom < strip.bottom) latents_.pop_front();
  }

  File write() const {
    const std::size_t z_width = cells(size_.width, kStride), z_height = cells(size_.height, kStride);
    std::vector<File> streams(header_.tile_count());
    parallel(streams.size(), threads_, [&](std::size_t i) {
      const Box box = header_.tile_box(i), z = box.reduced(kStride), y = box.reduced(kYStride);
      const auto place = [](const Box& at, std::size_t columns) {
        return static_cast<std::size_t>(at.top) * columns + static_cast<std::size_t>(at.left);
      };
      streams[i] = coder_.write(cells(box.height(), kStride), cells(box.width(), kStride),
                                {z_.data() + place(z, z_width), z_height * z_width, z_width},
                                {y_.data() + place(y, width()), height() * width(), width()});
    });
    return pack(header_, streams);
  }

  const Encoder& e_;
  const std::uint8_t* pixels_;
  const Header header_;
  const Effort& effort_;
  const int threads_;
  const Box padded_;
  const Size size_;
  const std::size_t M_;
  const TileCoder coder_;
  std::vector<std::int8_t> z_;
  std::vector<std::int16_t> y_;
  std::vector<std::uint8_t> index_;  // of the table of each symbol of y
  float dead_zone_[kScales];
  std::deque<Latents> latents_;  // of strips, from the top
};

// Looks for the level whose file is as large as it may be. What files have at a level grows alike in all pictures.
class Encoder::Search {
 public:
  Search(const Encoder& encoder, const std::uint8_t* pixels, const Header& header, std::uint64_t max_bytes, const Effort& effort,
         int threads)
      : e_(encoder), pixels_(pixels), header_(header), max_bytes_(max_bytes), effort_(effort), threads_(threads) {}

  File run() {
    int level = (kMinLevel + kMaxLevel) / 2;
    if (!effort_.rates.empty()) {  // what gradients change in bits is alike at neighboring levels
      const Effort cheap{effort_.dead_zone};
      for (int i = 0; i < 4; ++i) {
        const double missing = learn(level, size(code(level, cheap)) * kGain);
        if (std::abs(missing) < 0.02) break;
        const int next = moved(level, missing);
        if (next == level) break;
        level = next;
      }
    }
    last_level_ = 0;
    File best;
    int below = kMinLevel - 1, above = kMaxLevel + 1;
    for (int i = 0;; ++i) {
      File file = code(level, effort_);
      const std::uint64_t bytes = file.size();
      const double missing = learn(level, size(file));
      if (bytes <= max_bytes_) {
        below = level;
        best = std::move(file);
        if (static_cast<double>(bytes) >= kLeast * static_cast<double>(max_bytes_)) break;
      } else {
        above = level;
      }
      if (above <= below + 1) {
        if (best.empty())
          throw Error(AECODEC_BAD_ARGUMENT, "no file of this picture has " + std::to_string(max_bytes_) +
                                                " bytes: quality 1 needs " + std::to_string(bytes));
        break;
      }
      level = i >= kPatience ? (below < kMinLevel ? kMinLevel : above > kMaxLevel ? kMaxLevel : (below + above) / 2)
                             : std::clamp(moved(level, missing), below + 1, above - 1);
    }
    return best;
  }

 private:
  static constexpr double kLeast = 0.98, kMiddle = 0.99;  // of the bytes that are allowed
  static constexpr double kGain = 0.94;                   // of gradients
  static constexpr int kPatience = 4;                     // files before the search only halves
  static constexpr std::size_t kCached = std::size_t{1} << 25;  // pixels of which y is kept
  static constexpr double kGrowth[] = {0.00, 0.41, 0.84, 1.28, 1.71, 2.12, 2.49, 2.83, 3.14, 3.41};  // logarithm of the bytes
  static constexpr int kParts = 9;

  static double size(const File& file) { return static_cast<double>(file.size()); }

  // How much is missing of what is wanted, as a logarithm. Takes the slope from this measurement and the last one.
  double learn(int level, double size) {
    const double value = std::log(size);
    if (last_level_ && last_level_ != level) {
      const double slope = (value - last_value_) / (expected(level) - expected(last_level_));
      if (slope > 0.3 && slope < 3) slope_ = slope;
    }
    last_level_ = level;
    last_value_ = value;
    return std::log(static_cast<double>(max_bytes_) * kMiddle) - value;
  }

  static double expected(int level) {
    const double place = static_cast<double>(kParts) * (level - kMinLevel) / (kMaxLevel - kMinLevel);
    const int low = std::min(static_cast<int>(place), kParts - 1);
    return kGrowth[low] + (place - low) * (kGrowth[low + 1] - kGrowth[low]);
  }

  // The level that has so much more
  int moved(int level, double missing) const {
    const double wanted = expected(level) + missing / slope_;
    int part = 0;
    while (part < kParts - 1 && kGrowth[part + 1] < wanted) ++part;
    const double there = part + (wanted - kGrowth[part]) / (kGrowth[part + 1] - kGrowth[part]);
    return static_cast<int>(std::lround(kMinLevel + std::clamp(there / kParts, 0.0, 1.0) * (kMaxLevel - kMinLevel)));
  }

  File code(int level, const Effort& effort) {
    header_.level = level;
    const Box padded = header_.padded();
    if (static_cast<std::size_t>(padded.right) * static_cast<std::size_t>(padded.bottom) > kCached)
      return e_.encode(pixels_, header_, effort, threads_);
    const std::size_t M = e_.prior_.M(), row = cells(padded.right, kYStride) * M;
    const bool lowest = level == kMinLevel;  // whose file decides whether there is one: it is made of its own y
    if (y_.empty() || (lowest && level_ != level) || level < level_ - 1000 || level > level_ + 700) {
      level_ = lowest ? level : std::min(level + 150, kMaxLevel);  // too fine costs less than too coarse
      y_.resize(cells(padded.bottom, kYStride) * row);
      for (const Box& strip : Coding::strips(padded))
        e_.networks_.analysis.analyze(pixels_, {header_.width, header_.height}, level_, strip, threads_,
                                      y_.data() + cells(strip.top, kYStride) * row);
    }
    const std::vector<float> ratio = e_.networks_.analysis.gain_ratio(level, level_);
    return Coding(e_, pixels_, header_, effort, threads_).run([&](const Box& strip, float* y) {
      const float* from = y_.data() + cells(strip.top, kYStride) * row;
      for (std::size_t i = 0; i < cells(strip.height(), kYStride) * row; ++i) y[i] = from[i] * ratio[i % M];
    });
  }

  const Encoder& e_;
  const std::uint8_t* pixels_;
  Header header_;
  const std::uint64_t max_bytes_;
  const Effort& effort_;
  const int threads_;
  std::vector<float> y_;  // of the whole picture, made for a level
  int level_ = 0;
  double slope_ = 1;  // of sizes to what is expected
  int last_level_ = 0;
  double last_value_ = 0;
};

Encoder::Networks Encoder::load(const Weights& networks) {
  const Floats analysis(networks, {"g_a.", "h_a."}), gradient(networks, {"g_s."});
  return {Analysis(analysis.arrays), Gradient(gradient.arrays)};
}

Encoder::Encoder(const Weights& networks, const Prior& prior, const Receiver& receiver)
    : prior_(prior), receiver_(receiver), networks_(load(networks)), bits_(prior.bits(kReach)) {
  if (networks_.analysis.M() != prior.M() || networks_.analysis.N() != prior.N() || networks_.gradient.M() != prior.M())
    throw std::invalid_argument("networks have other channels than their prior");
  const auto found = lambdas(networks.config());
  lowest_lambda_ = found.first;
  highest_lambda_ = found.second;
  top_curvature_ = top_curvature(networks.config());
}

// Place of a level on the anchor axis, 0..kAnchors - 1
static double anchor_position(int level) {
  return static_cast<double>(level - kMinLevel) * static_cast<double>(kAnchors - 1) / kSpread;
}

// What the gradient is divided by, in bits per squared quantization step
float Encoder::curvature(int level) const {
  const double beyond = std::max(0.0, anchor_position(level) / static_cast<double>(kAnchors - 1) - kCurved) / (1 - kCurved);
  return static_cast<float>(kCurvature + (top_curvature_ - kCurvature) * beyond);
}

// Bits that a squared error of 1 in one value of a pixel is worth, on a scale from 0 to 1
float Encoder::error_weight(int level) const {
  const double place = anchor_position(level);
  const double lambda = lowest_lambda_ * std::pow(highest_lambda_ / lowest_lambda_, place / static_cast<double>(kAnchors - 1));
  return static_cast<float>(kErrorWorth * lambda * (255 * 255) / 3);
}

File Encoder::encode(const std::uint8_t* pixels, const Header& header, const Effort& effort, int threads) const {
  return Coding(*this, pixels, header, effort, threads).run([&](const Box& strip, float* y) {
    networks_.analysis.analyze(pixels, {header.width, header.height}, header.level, strip, threads, y);
  });
}

File Encoder::fit(const std::uint8_t* pixels, const Header& header, std::uint64_t max_bytes, const Effort& effort,
                  int threads) const {
  return Search(*this, pixels, header, max_bytes, effort, threads).run();
}

}  // namespace aecodec
