// SPDX-License-Identifier: Apache-2.0

#include "decoding.hpp"

#include <algorithm>
#include <limits>
#include <new>
#include <vector>

#include "drawn.hpp"
#include "error.hpp"
#include "parallel.hpp"
#include "webp.hpp"

namespace aecodec {
namespace {

constexpr std::int32_t kHalo = 128;  // pixels around a cell of kStride that its pixels depend on
constexpr std::int32_t kLeastHeight = 512;

// A multiple of `step`.
std::int32_t height_within(std::int32_t pixels, std::int32_t width, std::int32_t step) {
  return (std::max(kLeastHeight, pixels / width) + step - 1) / step * step;
}

std::size_t cells(std::int32_t pixels, std::int32_t stride) { return static_cast<std::size_t>(pixels / stride); }

std::size_t product(std::size_t a, std::size_t b, std::size_t c) {
  constexpr std::size_t kMost = std::numeric_limits<std::size_t>::max() / 4;
  if ((b && a > kMost / b) || (c && a * b > kMost / c)) throw std::bad_alloc();
  return a * b * c;
}

// The symbols of a part of the padded picture.
class Window {
 public:
  Window(const Prior& prior, const Box& box) : box_(box), N_(prior.N()), M_(prior.M()) {
    z_.resize(product(N_, cells(box.height(), kStride), cells(box.width(), kStride)));
    y_.resize(product(M_, cells(box.height(), kYStride), cells(box.width(), kYStride)));
  }

  const Box& box() const { return box_; }
  WindowView view() const { return {z_.data(), y_.data(), box_}; }
  Planes<std::int8_t> z_at(const Box& part) { return place(z_.data(), part, kStride); }
  Planes<std::int16_t> y_at(const Box& part) { return place(y_.data(), part, kYStride); }

  // Copies what both windows have. REQUIRES: the same columns.
  void copy(Window& other) {
    const Box shared = box_.intersection(other.box_);
    if (shared.empty()) return;
    copy_rows(z_at(shared), other.z_at(shared), N_, shared, kStride);
    copy_rows(y_at(shared), other.y_at(shared), M_, shared, kYStride);
  }

 private:
  template <typename T>
  Planes<T> place(T* data, const Box& part, std::int32_t stride) const {
    const std::size_t row = cells(box_.width(), stride);
    return {data + cells(part.top - box_.top, stride) * row + cells(part.left - box_.left, stride),
            cells(box_.height(), stride) * row, row};
  }

  template <typename T>
  static void copy_rows(Planes<T> to, Planes<T> from, std::size_t channels, const Box& shared, std::int32_t stride) {
    const std::size_t count = cells(shared.height(), stride) * from.row;
    for (std::size_t c = 0; c < channels; ++c) std::copy_n(from.data + c * from.plane, count, to.data + c * to.plane);
  }

  Box box_;
  std::size_t N_, M_;
  std::vector<std::int8_t> z_;
  std::vector<std::int16_t> y_;
};

// One decode.
class Decoding {
 public:
  Decoding(const Container& container, const Prior* prior, const Alpha& alpha, const Render& render, const Target& target,
           int threads, const std::function<bool(double)>& progress, const Limits& limits)
      : container_(container), header_(container.header), prior_(prior), alpha_(alpha), render_(render), target_(target),
        threads_(threads), progress_(progress), limits_(limits), frame_(target.area.reduced(target.factor)) {}

  void run() {
    Box coded;  // all that networks make, and what is between
    std::vector<std::size_t> drawn;
    for (std::size_t i = 0; i < container_.tiles.size(); ++i) {
      const Box box = header_.tile_box(i).intersection(target_.area);
      if (box.empty()) continue;
      const Tile& tile = container_.tiles[i];
      if (tile.coded()) coded = coded.empty() ? box : coded.united(box);
      if (tile.drawn.size) drawn.push_back(i);
    }
    if (!drawn.empty() && !has_webp())
      throw Error(AECODEC_UNSUPPORTED, "this library was built without libwebp, which drawn pixels need");
    all_ = pixels(coded) + static_cast<double>(drawn.size()) * pixels(header_.tile_box(0));
    tell();
    if (!coded.empty()) render_all(coded);
    draw_all(drawn);
    if (target_.channels % 2 == 0) write_alpha();
    done_ = all_;
    tell();
  }

 private:
  static double pixels(const Box& box) { return box.empty() ? 0 : static_cast<double>(box.width()) * box.height(); }

  void tell() const {
    if (progress_ && !progress_(std::min(done_ / all_, 1.0))) throw Error(AECODEC_CANCELLED, "cancelled");
  }

  void render_all(const Box& area) {
    const TileCoder coder(*prior_, header_.level);
    const Box needed = needed_around(area, header_);
    const std::int32_t side = header_.tile_side();
    const Box tiles = needed.aligned(side).intersection(header_.padded());  // whole ones
    const std::int32_t strip = height_within(limits_.window, tiles.width(), side);
    const std::int32_t step = progress_ ? height_within(limits_.progress, area.width(), kStride) : header_.padded().bottom;
    Window window(*prior_, {tiles.left, tiles.top, tiles.right, tiles.top});
    std::int32_t done = area.top;
    for (std::int32_t parsed = tiles.top; parsed < tiles.bottom;) {
      const std::int32_t next = std::min(parsed + strip, tiles.bottom);
      const std::int32_t kept = std::min(parsed, std::max(done / kStride * kStride - kHalo, tiles.top));
      Window moved(*prior_, {tiles.left, kept, tiles.right, next});
      moved.copy(window);
      window = std::move(moved);
      parse(coder, window, {tiles.left, parsed, tiles.right, next});
      parsed = next;
      const std::int32_t ready = parsed == tiles.bottom ? area.bottom : std::min(area.bottom, parsed - kHalo);
      while (done < ready) {
        const Box part{area.left, done, area.right, std::min(ready, done / kStride * kStride + step)};
        render(window, part);
        done = part.bottom;
        done_ += pixels(part);
        tell();
      }
    }
  }

  // The tiles of a part of the window. Symbols of those without a stream stay 0.
  void parse(const TileCoder& coder, Window& window, const Box& part) const {
    std::vector<std::size_t> tiles;
    for (std::size_t i = 0; i < container_.tiles.size(); ++i)
      if (container_.tiles[i].coded() && !header_.tile_box(i).intersection(part).empty()) tiles.push_back(i);
    parallel(tiles.size(), threads_, [&](std::size_t i) {
      const Box box = header_.tile_box(tiles[i]);
      coder.read(container_.tiles[tiles[i]].stream, cells(box.height(), kStride), cells(box.width(), kStride),
                 window.z_at(box), window.y_at(box));
    });
  }

  void render(const Window& window, const Box& area) {
    const Box shown = area.reduced(target_.factor);
    std::uint8_t* out = target_.pixels + static_cast<std::size_t>(shown.top - frame_.top) * target_.stride +
                        static_cast<std::size_t>(shown.left - frame_.left) * static_cast<std::size_t>(target_.channels);
    if (target_.channels == 3 && !header_.gray) return render_(window.view(), area, out, target_.stride);
    const std::size_t row = 3 * static_cast<std::size_t>(shown.width());
    rgb_.resize(row * static_cast<std::size_t>(shown.height()));
    render_(window.view(), area, rgb_.data(), row);
    for (const std::uint8_t* rgb = rgb_.data(); rgb != rgb_.data() + rgb_.size(); rgb += row, out += target_.stride) write(rgb, row, out);
  }

  // A row, in the channels that are asked for; not its alpha.
  void write(const std::uint8_t* rgb, std::size_t size, std::uint8_t* out) const {
    const auto channels = static_cast<std::size_t>(target_.channels), colors = std::min<std::size_t>(channels, 3);
    for (const std::uint8_t* end = rgb + size; rgb != end; rgb += 3, out += channels) {
      const auto gray = static_cast<std::uint8_t>((rgb[0] + rgb[1] + rgb[2] + 1) / 3);
      for (std::size_t c = 0; c < colors; ++c) out[c] = header_.gray ? gray : rgb[c];
    }
  }

  // Over what was rendered: each tile is decoded once, and as many at once as memory allows.
  void draw_all(const std::vector<std::size_t>& tiles) {
    const Box largest = header_.tile_box(0);
    const std::int32_t size = largest.width() * largest.height();
    const int threads = std::clamp(limits_.drawn / size, 1, threads_);
    const std::size_t batch = progress_ ? static_cast<std::size_t>(std::max(threads, limits_.progress / size)) : tiles.size();
    for (std::size_t first = 0; first < tiles.size(); first += batch) {
      const std::size_t count = std::min(batch, tiles.size() - first);
      parallel(count, threads, [&](std::size_t i) { draw(container_, tiles[first + i], target_); });
      done_ += static_cast<double>(count) * size;
      tell();
    }
  }

  void write_alpha() const {
    parallel(alpha_.tiles().size(), threads_, [&](std::size_t i) {
      const auto channels = static_cast<std::size_t>(target_.channels);
      alpha_.write(i, target_.factor, target_.pixels + channels - 1, channels, target_.stride);
    });
  }

  const Container& container_;
  const Header& header_;
  const Prior* prior_;
  const Alpha& alpha_;
  const Render& render_;
  const Target& target_;
  const int threads_;
  const std::function<bool(double)>& progress_;
  const Limits& limits_;
  const Box frame_;                // the area in the reduced picture
  double done_ = 0, all_ = 1;      // pixels, those of drawn tiles besides
  std::vector<std::uint8_t> rgb_;  // of the part that was rendered last
};

}  // namespace

Box needed_around(const Box& area, const Header& header) { return area.aligned(kStride).grown(kHalo, header.padded()); }

void decode(const Container& container, const Prior* prior, const Alpha& alpha, const Render& render, const Target& target,
            int threads, const std::function<bool(double)>& progress, const Limits& limits) {
  Decoding(container, prior, alpha, render, target, threads, progress, limits).run();
}

}  // namespace aecodec
