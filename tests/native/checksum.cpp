// SPDX-License-Identifier: Apache-2.0
//
// Prints a checksum of what pseudo-random networks make of pseudo-random symbols, for each kernel of the machine. It is
// compiled for machines that cannot run Python; all must print the same. `checksum N` also prints the time of a
// 768x512 picture with the widths of model m, the best of N runs on one and on two threads: elapsed, and of all processors.

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <deque>
#include <string>
#include <vector>

#include "../../native/receiver.hpp"

namespace {

using aecodec::Box;

struct Random {  // xorshift64*
  std::uint64_t state = 88172645463325252u;

  std::int64_t below(std::int64_t limit) {
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return static_cast<std::int64_t>((state * 2685821657736338717u) >> 33) * limit >> 31;
  }
  std::int64_t around(std::int64_t limit) { return below(2 * limit + 1) - limit; }
};

class Network {
 public:
  Network(std::size_t N, std::size_t M, std::size_t context, std::size_t body, std::size_t inner, std::size_t render, Random& random)
      : N_(N), M_(M), random_(random) {
    for (const std::string i : {"0", "1"}) {
      layer("h_s.ups." + i, 4 * N, N / 4, 4 * N, i == "0" ? 5 : 0);
      block("h_s.blocks." + i, N, 2 * N, 4);
      layer("mean" + i + ".enter", context, i == "0" ? M : 2 * M, context);
      block("mean" + i + ".block", context, 2 * context, 4);
      layer("mean" + i + ".leave", M, context, M, 3);
      block("g_s.blocks." + i, body, inner, 1);
      gain("g_s.gains." + i, body, 24);
    }
    layer("h_s.leave", M, N, 0);
    gain("h_s.gain", M, 22);
    layer("mean0.step", M, context, M, 3);
    gain("g_s.y_gain", M, 20);
    layer("g_s.enter", body, M, body);
    layer("g_s.latent", 16 * render, M, 16 * render);
    layer("g_s.condition", 16 * render, body, 16 * render);
    for (const char* name : {"shift", "scale", "gate", "expand", "reduce"}) layer(std::string("g_s.") + name, render, render, render);
    layer("g_s.leave", 48, render, 1, -5);
  }

  aecodec::Receiver receiver(const aecodec::Kernel& kernel) const { return {arrays_, N_, M_, kernel}; }

 private:
  void layer(const std::string& name, std::size_t outputs, std::size_t columns, std::size_t multipliers, int louder = 0) {
    const auto limit = static_cast<std::int64_t>(std::min<std::size_t>(32767, 60000 / columns));
    auto& weight = shorts_.emplace_back(outputs * columns);
    for (auto& w : weight) w = static_cast<std::int16_t>(random_.around(limit));
    arrays_[name + ".weight"] = {aecodec::Type::kI16, {outputs, columns}, weight.data()};
    ints(name + ".bias", {outputs}, [&] { return random_.around(1 << 24); });
    int bits = 0;  // of the spread of sums of inputs of the same spread
    while ((std::int64_t{1} << (2 * bits)) < limit * limit * static_cast<std::int64_t>(columns) / 3) ++bits;
    if (multipliers != 0) ints(name + ".multiplier", {multipliers}, [&] { return (1 << 29) + random_.below(1 << 30); });
    auto& format = longs_.emplace_back(std::vector<std::int32_t>{(multipliers != 0 ? 30 : 24) + bits - louder, 12});
    arrays_[name + ".format"] = {aecodec::Type::kI32, {2}, format.data()};
  }

  void block(const std::string& name, std::size_t width, std::size_t inner, std::size_t groups) {
    layer(name + ".enter", width, width / groups, width);
    layer(name + ".spatial", width, 9, width);
    layer(name + ".leave", width, width / groups, width);
    layer(name + ".expand", inner, width / groups, inner);
    layer(name + ".reduce", width, inner / groups, width);
  }

  void gain(const std::string& name, std::size_t channels, int bits) {
    ints(name, {8, channels}, [&] { return (bits << 16) + random_.around(65536); });
  }

  template <typename Draw>
  void ints(const std::string& name, std::vector<std::size_t> shape, const Draw& draw) {
    aecodec::ArrayView view{aecodec::Type::kI32, std::move(shape), nullptr};
    auto& values = longs_.emplace_back(view.size());
    for (auto& value : values) value = static_cast<std::int32_t>(draw());
    view.data = values.data();
    arrays_[name] = view;
  }

  std::size_t N_, M_;
  Random& random_;
  aecodec::Arrays arrays_;
  std::deque<std::vector<std::int16_t>> shorts_;
  std::deque<std::vector<std::int32_t>> longs_;
};

class Picture {
 public:
  Picture(std::size_t N, std::size_t M, int columns, int rows, Random& random)
      : z_(N * static_cast<std::size_t>(columns * rows)), y_(16 * M * static_cast<std::size_t>(columns * rows)) {
    for (auto& z : z_) z = static_cast<std::int8_t>(random.around(127));
    for (auto& y : y_) y = static_cast<std::int16_t>(random.around(random.below(8) == 0 ? 20 : 2));
    symbols = {z_.data(), y_.data(), {0, 0, 64 * columns, 64 * rows}, {64 * columns, 64 * rows}};
  }

  aecodec::SymbolWindow symbols;

 private:
  std::vector<std::int8_t> z_;
  std::vector<std::int16_t> y_;
};

std::vector<std::uint8_t> render(const aecodec::Receiver& receiver, const Picture& picture, const Box& area, int factor, int threads) {
  const Box frame = area.reduced(factor);
  const auto row = 3 * static_cast<std::size_t>(frame.width());
  std::vector<std::uint8_t> pixels(row * static_cast<std::size_t>(frame.height()));
  receiver.render(picture.symbols, 4321, area, factor, threads, pixels.data(), row);
  return pixels;
}

}  // namespace

int main(int count, char** arguments) {
  const std::size_t widths[][6] = {{16, 32, 32, 32, 32, 8}, {20, 26, 12, 10, 14, 5}, {96, 384, 128, 144, 272, 48}};
  for (std::size_t k = 0; aecodec::kernel(k) != nullptr; ++k) {
    const aecodec::Kernel& kernel = *aecodec::kernel(k);
    Random random;
    std::uint64_t sum = 14695981039346656037u;  // FNV-1a
    for (const auto& w : widths) {
      const Network network(w[0], w[1], w[2], w[3], w[4], w[5], random);
      const aecodec::Receiver receiver = network.receiver(kernel);
      const Picture picture(w[0], w[1], 3, 2, random);
      for (const int factor : {1, 2, 4, 8})
        for (const Box& area : {Box{0, 0, 192, 128}, Box{37, 5, 90, 100}})
          for (const std::uint8_t value : render(receiver, picture, area, factor, factor == 2 ? 2 : 1)) sum = (sum ^ value) * 1099511628211u;
      std::vector<std::int32_t> y_hat(w[1] * 12 * 8);
      receiver.y_hat(picture.symbols, 4321, {0, 0, 192, 128}, 1, y_hat.data());
      for (const std::int32_t value : y_hat) sum = (sum ^ static_cast<std::uint32_t>(value)) * 1099511628211u;
    }
    std::printf("%s %016llx\n", kernel.name, static_cast<unsigned long long>(sum));
  }
  if (count < 2) return 0;
  Random random;
  const Network network(96, 384, 128, 144, 272, 48, random);
  const Picture picture(96, 384, 12, 8, random);
  for (std::size_t k = 0; aecodec::kernel(k) != nullptr; ++k) {
    if (count > 2 && std::string(arguments[2]) != aecodec::kernel(k)->name) continue;
    const aecodec::Receiver receiver = network.receiver(*aecodec::kernel(k));
    for (const int threads : {1, 2}) {
      double best = 1e9, busy = 1e9;
      for (int i = 0; i < std::atoi(arguments[1]); ++i) {
        const auto start = std::chrono::steady_clock::now();
        const std::clock_t before = std::clock();
        render(receiver, picture, picture.symbols.window, 1, threads);
        best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
        busy = std::min(busy, static_cast<double>(std::clock() - before) / CLOCKS_PER_SEC);
      }
      std::printf("%s, %d threads: %.1f ms, %.1f ms of processors\n", aecodec::kernel(k)->name, threads, 1e3 * best, 1e3 * busy);
    }
  }
}
