// SPDX-License-Identifier: Apache-2.0
//
// How networks go through an area: in strips from top to bottom, whose layers keep their latest rows.

#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

#include "box.hpp"
#include "layers.hpp"
#include "parallel.hpp"

namespace aecodec {

constexpr std::int32_t kMaxSide = 65536;  // of the padded picture

inline std::size_t unsigned_(int x) { return static_cast<std::size_t>(x); }

// A span of columns of a row of cells.
struct Span {
  int begin = 0, end = 0;

  std::size_t size() const { return unsigned_(end - begin); }
  Span grown(int halo, int limit) const { return {std::max(begin - halo, 0), std::min(end + halo, limit)}; }
  Span halved() const { return {begin / 2, (end + 1) / 2}; }
  Span doubled() const { return {2 * begin, 2 * end}; }
};

// The latest `rows` rows of something. The columns of a span, [column, channel] one row behind the other.
template <typename T>
struct Ring {
  Span span;
  std::size_t channels = 0;
  int rows = 1;
  T* data = nullptr;

  Ring() = default;
  Ring(Arena& arena, Span span_, std::size_t channels_, int rows_)
      : span(span_), channels(channels_), rows(rows_), data(arena.take<T>(unsigned_(rows) * span_.size() * channels_)) {}
  T* at(int row, int column) const {
    return data + (unsigned_(row % rows) * span.size() + unsigned_(column - span.begin)) * channels;
  }
  T* at(int row) const { return at(row, span.begin); }
};

struct Strips {
  int columns = 1, rows = 1;
};

// Strips of cells no wider than `widest`, and as many as keep the threads busy at the least cost. cost(width, height) is
// that of one strip, in cells: with what strips do twice.
template <typename Cost>
Strips best_strips(const Box& cells, int widest, int threads, const Cost& cost) {
  constexpr double kMemory = 4, kThread = 4;  // cells that could be made while a strip gets its memory, and one more its thread
  const int workers = std::clamp(threads, 1, 256), least = (cells.width() + widest - 1) / widest;
  Strips best{least, 1};
  double lowest = 0;
  for (int columns = least; columns <= std::min(least + workers, cells.width()); ++columns) {
    const int most = std::clamp(4 * workers / columns, 1, cells.height());
    for (int rows = 1; rows <= most; ++rows) {
      const int width = (cells.width() + columns - 1) / columns, height = (cells.height() + rows - 1) / rows;
      const double total = (kMemory + cost(width, height)) * ((columns * rows + workers - 1) / workers) +
                           kThread * std::min(columns * rows, workers);
      if (lowest == 0 || total < lowest) {
        lowest = total;
        best = {columns, rows};
      }
    }
  }
  return best;
}

// Calls work(strip) for every strip.
template <typename Work>
void for_strips(const Box& cells, Strips strips, int threads, const Work& work) {
  const auto cut = [](int first, int size, int i, int parts) {
    return first + static_cast<int>(std::int64_t{size} * i / parts);
  };
  parallel(unsigned_(strips.columns * strips.rows), std::clamp(threads, 1, 256), [&](std::size_t part) {
    const int i = static_cast<int>(part) % strips.columns, j = static_cast<int>(part) / strips.columns;
    const Box strip{cut(cells.left, cells.width(), i, strips.columns), cut(cells.top, cells.height(), j, strips.rows),
                    cut(cells.left, cells.width(), i + 1, strips.columns),
                    cut(cells.top, cells.height(), j + 1, strips.rows)};
    if (!strip.empty()) work(strip);
  });
}

// What throws std::invalid_argument:

inline void require_padded(Size padded) {
  for (const std::int32_t side : {padded.width, padded.height})
    if (side <= 0 || side > kMaxSide || side % kStride != 0)
      throw std::invalid_argument("padded sizes are not multiples of 64 up to 65536");
}

inline void require_level(int level) {
  if (level < kMinLevel || level > kMaxLevel)
    throw std::invalid_argument("level is " + std::to_string(level) + ", not 100..10000");
}

// Not empty, and in the padded picture
inline bool within(const Box& box, Size padded) {
  return 0 <= box.left && box.left < box.right && box.right <= padded.width && 0 <= box.top && box.top < box.bottom &&
         box.bottom <= padded.height;
}

}  // namespace aecodec
