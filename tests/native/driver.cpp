// SPDX-License-Identifier: Apache-2.0
//
// What tests ask the inside of the library, and what they run under sanitizers. One line for each file: the status, a tab,
// the text of the error or what was asked for.
//
//   driver symbols WEIGHTS FILE...     header fields and SHA-256 of the symbols
//   driver weights FILE...             model_id
//   driver paint WEIGHTS (FILE X Y WIDTH HEIGHT FACTOR CHANNELS THREADS OUT)...     size of the pixels in OUT
//   driver vp8l (FILE WIDTH HEIGHT OUT)...     how many bytes RGBA vp8l.cpp wrote to OUT

#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "alpha.hpp"
#include "container.hpp"
#include "decoding.hpp"
#include "error.hpp"
#include "paint.hpp"
#include "sha256.hpp"
#include "tile.hpp"
#include "vp8l.hpp"
#include "weights.hpp"

namespace {

using namespace aecodec;

class File {
 public:
  explicit File(const char* path) {
    std::ifstream file(path, std::ios::binary);
    data_.assign(std::istreambuf_iterator<char>(file), {});
    data_.shrink_to_fit();  // so that what reads behind the end is seen
  }
  Bytes bytes() const { return {reinterpret_cast<const std::uint8_t*>(data_.data()), data_.size()}; }

 private:
  std::vector<char> data_;
};

template <typename Work>
void report(const Work& work) {
  try {
    const std::string text = work();
    std::printf("%d\t%s\n", AECODEC_OK, text.c_str());
  } catch (const Error& error) {
    std::printf("%d\t%s\n", error.status, error.what());
  }
}

std::string hex(const Sha256::Digest& digest) {
  std::string text;
  for (const std::uint8_t byte : digest) text += {"0123456789abcdef"[byte >> 4], "0123456789abcdef"[byte & 15]};
  return text;
}

std::string symbols(const Prior& prior, const File& file) {
  const Header header = read_header(file.bytes(), kMaxPixels);
  const Container container = unpack(file.bytes(), header, header.padded());
  const Alpha alpha(container, header.bounds());
  const auto rows = static_cast<std::size_t>(header.padded().bottom / kStride);
  const auto columns = static_cast<std::size_t>(header.padded().right / kStride);
  std::vector<std::int8_t> z(prior.N() * rows * columns);
  std::vector<std::int16_t> y(prior.M() * rows * columns * 16);
  const TileCoder coder(prior, header.level);
  for (std::size_t i = 0; i < container.tiles.size(); ++i) {
    if (!container.tiles[i].coded()) continue;
    const Box box = header.tile_box(i);
    const auto left = static_cast<std::size_t>(box.left / kStride), top = static_cast<std::size_t>(box.top / kStride);
    coder.read(container.tiles[i].stream, static_cast<std::size_t>(box.height() / kStride), static_cast<std::size_t>(box.width() / kStride),
               {z.data() + top * columns + left, rows * columns, columns},
               {y.data() + 4 * (top * 4 * columns + left), 16 * rows * columns, 4 * columns});
  }
  Sha256 sha256;
  sha256.add(z.data(), z.size());
  sha256.add(y.data(), 2 * y.size());
  std::string text;
  for (const long long field : {static_cast<long long>(header.width), static_cast<long long>(header.height),
                                static_cast<long long>(header.level), static_cast<long long>(header.model_id),
                                static_cast<long long>(header.gray), static_cast<long long>(header.tile),
                                static_cast<long long>(header.alpha), static_cast<long long>(header.constant_alpha)})
    text += std::to_string(field) + " ";
  return text + hex(sha256.digest());
}

void write(const char* path, const std::vector<std::uint8_t>& data) {
  std::ofstream(path, std::ios::binary).write(reinterpret_cast<const char*>(data.data()), static_cast<std::streamsize>(data.size()));
}

std::string painted(const Prior& prior, const File& file, const std::vector<int>& numbers, const char* out) {
  const Header header = read_header(file.bytes(), kMaxPixels);
  Target target;
  target.area = {numbers[0], numbers[1], numbers[0] + numbers[2], numbers[1] + numbers[3]};
  target.factor = numbers[4];
  target.channels = numbers[5];
  const Box frame = target.area.reduced(target.factor);
  target.stride = static_cast<std::size_t>(frame.width() * target.channels);
  std::vector<std::uint8_t> pixels(target.stride * static_cast<std::size_t>(frame.height()));
  target.pixels = pixels.data();
  const Container container = unpack(file.bytes(), header, needed_around(target.area, header));
  const Size padded{header.padded().right, header.padded().bottom};
  decode(container, &prior, Alpha(container, target.area),
         [&](const WindowView& window, const Box& area, std::uint8_t* rgb, std::size_t row_bytes) {
           paint(window.z, window.y, window.box, padded, area, target.factor, rgb, row_bytes);
         },
         target, numbers[6], [](double) { return true; }, {1, 1});  // as many windows as there can be
  write(out, pixels);
  return std::to_string(frame.width()) + " " + std::to_string(frame.height());
}

}  // namespace

int main(int argc, char** argv) {
  const std::string command = argc > 2 ? argv[1] : "";
  if (command == "weights") {
    for (int i = 2; i < argc; ++i) {
      const File file(argv[i]);
      report([&] {
        const Weights weights(file.bytes());
        (void)Prior(weights);
        return std::to_string(weights.model_id());
      });
    }
  } else if (command == "symbols") {
    const File file(argv[2]);
    const Prior prior{Weights(file.bytes())};
    for (int i = 3; i < argc; ++i) report([&] { return symbols(prior, File(argv[i])); });
  } else if (command == "paint" && argc % 9 == 3) {
    const File file(argv[2]);
    const Prior prior{Weights(file.bytes())};
    for (char** job = argv + 3; job < argv + argc; job += 9) {
      std::vector<int> numbers;
      for (int i = 1; i < 8; ++i) numbers.push_back(std::stoi(job[i]));
      report([&] { return painted(prior, File(job[0]), numbers, job[8]); });
    }
  } else if (command == "vp8l") {
    for (char** job = argv + 2; job + 4 <= argv + argc; job += 4) {
      const File file(job[0]);
      const std::vector<std::uint8_t> pixels = decode_vp8l(file.bytes(), std::stoul(job[1]), std::stoul(job[2]));
      write(job[3], pixels);
      report([&] { return std::to_string(pixels.size()); });
    }
  } else {
    return 2;
  }
}
