// SPDX-License-Identifier: Apache-2.0
// Python bindings of rans.hpp, index.hpp, receiver.hpp, analysis.hpp and gradient.hpp: numpy buffers in and out, no logic. The GIL is released while coding.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <array>
#include <optional>
#include <string>

#include "analysis.hpp"
#include "gradient.hpp"
#include "index.hpp"
#include "rans.hpp"
#include "receiver.hpp"

namespace nb = nanobind;
using namespace nb::literals;

template <typename T, std::size_t N>
using Array = nb::ndarray<const T, nb::ndim<N>, nb::c_contig, nb::device::cpu>;

namespace {

void make_tables(aecodec::Tables* self, Array<std::int32_t, 1> cumulative, Array<std::int32_t, 1> lengths,
                 Array<std::int32_t, 1> offsets) {
  if (lengths.shape(0) != offsets.shape(0)) throw std::invalid_argument("lengths and offsets differ in count");
  new (self) aecodec::Tables(cumulative.data(), cumulative.shape(0), lengths.data(), offsets.data(), lengths.shape(0));
}

void make_decoder(aecodec::Decoder* self, const nb::bytes& data) {
  new (self) aecodec::Decoder(static_cast<const std::uint8_t*>(data.data()), data.size());
}

nb::bytes encode(Array<aecodec::Symbol, 1> symbols, Array<aecodec::Index, 1> indexes, const aecodec::Tables& tables) {
  if (symbols.shape(0) != indexes.shape(0)) throw std::invalid_argument("symbols and indexes differ in count");
  std::vector<std::uint8_t> bytes;
  {
    nb::gil_scoped_release release;
    bytes = aecodec::encode(symbols.data(), indexes.data(), symbols.shape(0), tables);
  }
  return nb::bytes(bytes.data(), bytes.size());
}

void decode(aecodec::Decoder& decoder, Array<aecodec::Index, 1> indexes, const aecodec::Tables& tables,
            nb::ndarray<aecodec::Symbol, nb::ndim<1>, nb::c_contig, nb::device::cpu> symbols) {
  if (symbols.shape(0) != indexes.shape(0)) throw std::invalid_argument("symbols and indexes differ in count");
  nb::gil_scoped_release release;
  decoder.decode(indexes.data(), indexes.shape(0), tables, symbols.data());
}

// Exact, whatever the numbers: of int8 they would need a row of 2^17 to exceed 31 bits.
void product(Array<std::int8_t, 2> weight, Array<std::int8_t, 2> x, nb::ndarray<std::int32_t, nb::ndim<2>, nb::c_contig, nb::device::cpu> sums) {
  constexpr std::size_t kVector = 16;  // numbers that sums are rounded up to
  const std::size_t rows = weight.shape(0), count = weight.shape(1), places = x.shape(1);
  if (x.shape(0) != count || sums.shape(0) != rows || sums.shape(1) != places || count >= 1 << 17)
    throw std::invalid_argument("weight, x and sums do not fit");
  nb::gil_scoped_release release;
  const std::size_t pitch = (count + kVector - 1) / kVector * kVector;
  std::vector<std::int16_t> a(rows * pitch), b(places * pitch);
  for (std::size_t row = 0; row < rows; ++row)
    for (std::size_t k = 0; k < count; ++k) a[row * pitch + k] = weight.data()[row * count + k];
  for (std::size_t k = 0; k < count; ++k)
    for (std::size_t place = 0; place < places; ++place) b[place * pitch + k] = x.data()[k * places + place];
  aecodec::products(a.data(), rows, b.data(), places, pitch, sums.data());
}

void table_index(Array<std::int32_t, 3> sums, Array<std::int32_t, 1> multiplier, Array<std::int64_t, 1> bias, int shift,
                 nb::ndarray<std::uint8_t, nb::ndim<3>, nb::c_contig, nb::device::cpu> index) {
  const std::size_t height = sums.shape(1), width = sums.shape(2), channels = index.shape(0);
  const std::size_t rows = channels * aecodec::kSide * aecodec::kSide;
  if (sums.shape(0) != rows || multiplier.shape(0) != rows || bias.shape(0) != rows ||
      index.shape(1) != aecodec::kSide * height || index.shape(2) != aecodec::kSide * width)
    throw std::invalid_argument("sums, multiplier, bias and index do not fit");
  if (shift <= 0 || shift >= 32) throw std::invalid_argument("shift must be 1..31");
  nb::gil_scoped_release release;
  aecodec::table_index(sums.data(), multiplier.data(), bias.data(), shift, channels, height, width, index.data());
}

// Boxes are (left, top, right, bottom), sizes (width, height), as in format/container.py
using Sides = std::array<std::int32_t, 4>;
using Shape = std::array<std::int32_t, 2>;

template <typename T, std::size_t N>
using Output = nb::ndarray<T, nb::ndim<N>, nb::c_contig, nb::device::cpu>;

aecodec::Box box(const Sides& sides) { return {sides[0], sides[1], sides[2], sides[3]}; }

aecodec::ArrayView view(const std::string& name, const nb::ndarray<nb::ro, nb::c_contig, nb::device::cpu>& array) {
  aecodec::ArrayView result;
  if (array.dtype() == nb::dtype<std::int16_t>()) {
    result.type = aecodec::Type::kI16;
  } else if (array.dtype() == nb::dtype<std::int32_t>()) {
    result.type = aecodec::Type::kI32;
  } else if (array.dtype() == nb::dtype<float>()) {
    result.type = aecodec::Type::kF32;
  } else {
    throw std::invalid_argument("array " + name + " is neither int16, int32 nor float32");
  }
  for (std::size_t i = 0; i < array.ndim(); ++i) result.shape.push_back(array.shape(i));
  result.data = array.data();
  return result;
}

const aecodec::Kernel& kernel_of(const std::string& name) {
  for (std::size_t i = 0; aecodec::kernel(i) != nullptr; ++i)
    if (name.empty() || name == aecodec::kernel(i)->name) return *aecodec::kernel(i);
  throw std::invalid_argument("kernel is " + name + ", which this machine has not");
}

// Views of numpy arrays that are held as long as it is.
struct HeldArrays {
  aecodec::Arrays views;

  explicit HeldArrays(const nb::dict& arrays) {
    for (const auto& [key, value] : arrays) {
      const auto name = nb::cast<std::string>(key);
      held_.push_back(nb::cast<nb::ndarray<nb::ro, nb::c_contig, nb::device::cpu>>(value));
      views.emplace(name, view(name, held_.back()));
    }
  }

 private:
  std::vector<nb::ndarray<nb::ro, nb::c_contig, nb::device::cpu>> held_;
};

void make_receiver(aecodec::Receiver* self, const nb::dict& arrays, std::size_t N, std::size_t M, const std::string& kernel) {
  new (self) aecodec::Receiver(HeldArrays(arrays).views, N, M, kernel_of(kernel));
}

void make_analysis(aecodec::Analysis* self, const nb::dict& arrays, const std::string& kernel) {
  new (self) aecodec::Analysis(HeldArrays(arrays).views, aecodec::floats(kernel_of(kernel)));
}

std::array<int, 2> strips(const Shape& padded, const Sides& area, int threads) {
  const aecodec::Size size{padded[0], padded[1]};
  aecodec::Receiver::require({0, 0, size.width, size.height}, size, 100, box(area));
  const aecodec::Strips result = aecodec::Receiver::strips(size, box(area), threads);
  return {result.columns, result.rows};
}

void make_gradient(aecodec::Gradient* self, const nb::dict& arrays, const std::string& kernel) {
  new (self) aecodec::Gradient(HeldArrays(arrays).views, aecodec::floats(kernel_of(kernel)));
}

nb::list kernels() {
  nb::list names;
  for (std::size_t i = 0; aecodec::kernel(i) != nullptr; ++i) names.append(aecodec::kernel(i)->name);
  return names;
}

template <typename T>
bool covers(const Array<T, 3>& symbols, std::size_t channels, const aecodec::Box& window, std::int32_t stride) {
  const auto rows = static_cast<std::size_t>(window.height() / stride), columns = static_cast<std::size_t>(window.width() / stride);
  return symbols.shape(0) == channels && symbols.shape(1) == rows && symbols.shape(2) == columns;
}

aecodec::SymbolWindow symbol_window(const aecodec::Receiver& receiver, const Array<std::int8_t, 3>& z,
                                    const Array<std::int16_t, 3>* y, const Sides& window, const Shape& padded,
                                    int level, const Sides& area, int factor = 1) {
  const aecodec::Box sides = box(window);
  aecodec::Receiver::require(sides, {padded[0], padded[1]}, level, box(area), factor);
  if (!covers(z, receiver.N(), sides, aecodec::kStride) ||
      (y != nullptr && !covers(*y, receiver.M(), sides, aecodec::kYStride)))
    throw std::invalid_argument("symbols do not fit their window");
  return {z.data(), y == nullptr ? nullptr : y->data(), sides, {padded[0], padded[1]}};
}

template <typename T>
void check_output(const Output<T, 3>& out, std::size_t channels, const aecodec::Box& cells) {
  if (out.shape(0) != channels || out.shape(1) != static_cast<std::size_t>(cells.height()) ||
      out.shape(2) != static_cast<std::size_t>(cells.width()))
    throw std::invalid_argument("the output does not fit the area");
}

void render(const aecodec::Receiver& receiver, Array<std::int8_t, 3> z, Array<std::int16_t, 3> y, const Sides& window,
            const Shape& padded, int level, const Sides& area, int factor, int threads, Output<std::uint8_t, 3> out) {
  const aecodec::SymbolWindow symbols = symbol_window(receiver, z, &y, window, padded, level, area, factor);
  const aecodec::Box frame = box(area).reduced(factor);
  if (out.shape(0) != static_cast<std::size_t>(frame.height()) || out.shape(1) != static_cast<std::size_t>(frame.width()) ||
      out.shape(2) != 3)
    throw std::invalid_argument("the output does not fit the area");
  nb::gil_scoped_release release;
  receiver.render(symbols, level, box(area), factor, threads, out.data(), 3 * out.shape(1));
}

void y_hat(const aecodec::Receiver& receiver, Array<std::int8_t, 3> z, Array<std::int16_t, 3> y, const Sides& window,
           const Shape& padded, int level, const Sides& area, int threads, Output<std::int32_t, 3> out) {
  const aecodec::SymbolWindow symbols = symbol_window(receiver, z, &y, window, padded, level, area);
  check_output(out, receiver.M(), box(area).reduced(aecodec::kYStride));
  nb::gil_scoped_release release;
  receiver.y_hat(symbols, level, box(area), threads, out.data());
}

void quantize(const aecodec::Receiver& receiver, Array<std::int8_t, 3> z, const Sides& window, Array<float, 3> y,
              const Sides& y_window, Array<std::uint8_t, 3> index, Array<float, 1> dead_zone, const Shape& padded, int level,
              const Sides& area, int threads, Output<std::int16_t, 3> out, std::optional<Output<std::int32_t, 3>> step,
              std::optional<Output<std::int32_t, 3>> mean) {
  const aecodec::SymbolWindow symbols = symbol_window(receiver, z, nullptr, window, padded, level, area);
  const auto cells = box(y_window).reduced(aecodec::kYStride);
  const auto rows = static_cast<std::size_t>(cells.height()), columns = static_cast<std::size_t>(cells.width());
  if (y.shape(0) != rows || y.shape(1) != columns || y.shape(2) != receiver.M()) throw std::invalid_argument("y does not fit its window");
  if (index.shape(0) != receiver.M() || index.shape(1) != static_cast<std::size_t>(padded[1] / aecodec::kYStride) ||
      index.shape(2) != static_cast<std::size_t>(padded[0] / aecodec::kYStride) || dead_zone.shape(0) != 64)
    throw std::invalid_argument("index or dead_zone does not fit");
  check_output(out, receiver.M(), box(area).reduced(aecodec::kYStride));
  for (const auto& plane : {step, mean})
    if (plane) check_output(*plane, receiver.M(), box(area).reduced(aecodec::kYStride));
  nb::gil_scoped_release release;
  receiver.quantize(symbols, {y.data(), box(y_window), index.data(), dead_zone.data()}, level, box(area), threads, out.data(),
                    step ? step->data() : nullptr, mean ? mean->data() : nullptr);
}

template <typename Array3>
void check_shape(const Array3& array, const std::array<std::size_t, 3>& shape, const char* problem) {
  for (std::size_t i = 0; i < shape.size(); ++i)
    if (array.shape(i) != shape[i]) throw std::invalid_argument(problem);
}

std::size_t length(std::int32_t side, std::int32_t stride) { return static_cast<std::size_t>(side / stride); }

aecodec::Size picture_size(const Array<std::uint8_t, 3>& pixels) {
  constexpr std::size_t kMost = 65536;
  if (pixels.shape(0) > kMost || pixels.shape(1) > kMost || pixels.shape(2) != 3)
    throw std::invalid_argument("pixels are not [height, width, 3] of up to 65536");
  return {static_cast<std::int32_t>(pixels.shape(1)), static_cast<std::int32_t>(pixels.shape(0))};
}

void analyze(const aecodec::Analysis& analysis, Array<std::uint8_t, 3> pixels, int level, const Sides& area, int threads,
             Output<float, 3> out) {
  const aecodec::Size size = picture_size(pixels);
  const aecodec::Box cells = box(area);
  aecodec::Analysis::require(size, level, cells);
  check_shape(out, {length(cells.height(), aecodec::kYStride), length(cells.width(), aecodec::kYStride), analysis.M()},
              "the output does not fit the area");
  nb::gil_scoped_release release;
  analysis.analyze(pixels.data(), size, level, cells, threads, out.data());
}

void hyper_analyze(const aecodec::Analysis& analysis, Array<float, 3> y, const Sides& window, const Shape& padded, int level,
                   const Sides& area, int threads, Output<std::int8_t, 3> out) {
  const aecodec::Box seen = box(window), cells = box(area);
  const aecodec::Size size{padded[0], padded[1]};
  aecodec::Analysis::require(seen, size, level, cells);
  check_shape(y, {length(seen.height(), aecodec::kYStride), length(seen.width(), aecodec::kYStride), analysis.M()},
              "y does not fit its window");
  check_shape(out, {analysis.N(), length(cells.height(), aecodec::kStride), length(cells.width(), aecodec::kStride)},
              "the output does not fit the area");
  nb::gil_scoped_release release;
  analysis.hyper_analyze(y.data(), seen, size, level, cells, threads, out.data());
}

void move(const aecodec::Gradient& gradient, Array<std::uint8_t, 3> pixels, Array<float, 3> y, Array<std::int16_t, 3> symbols,
          Array<std::int32_t, 3> step, Array<std::int32_t, 3> mean, const Sides& window, Array<std::uint8_t, 3> index,
          Array<float, 2> bits, float error, float rate, float curvature, int level, const Sides& area, int threads,
          Output<float, 3> out) {
  const aecodec::Box seen = box(window), cells = box(area);
  const aecodec::Size size = picture_size(pixels);
  aecodec::Gradient::require(seen, size, level, cells);
  const std::size_t rows = length(seen.height(), aecodec::kYStride), columns = length(seen.width(), aecodec::kYStride);
  check_shape(y, {rows, columns, gradient.M()}, "y does not fit its window");
  for (const auto& plane : {step, mean}) check_shape(plane, {gradient.M(), rows, columns}, "step and mean do not fit their window");
  check_shape(symbols, {gradient.M(), rows, columns}, "symbols do not fit their window");
  const aecodec::Box padded = aecodec::Box{0, 0, size.width, size.height}.aligned(aecodec::kStride);
  check_shape(index, {gradient.M(), length(padded.bottom, aecodec::kYStride), length(padded.right, aecodec::kYStride)},
              "index does not fit the padded picture");
  check_shape(out, {length(cells.height(), aecodec::kYStride), length(cells.width(), aecodec::kYStride), gradient.M()},
              "the output does not fit the area");
  if (bits.shape(0) == 0 || bits.shape(1) < 5 || bits.shape(1) % 2 == 0)
    throw std::invalid_argument("bits are not of an odd number of symbols, at least 5");
  nb::gil_scoped_release release;
  gradient.move(pixels.data(), size, level, {y.data(), symbols.data(), step.data(), mean.data(), seen},
                {index.data(), bits.data(), bits.shape(0), bits.shape(1) / 2, error}, {rate, curvature}, cells, threads,
                out.data());
}

}  // namespace

NB_MODULE(_native, m) {
  const auto stream_error = nb::exception<aecodec::StreamError>(m, "StreamError", PyExc_ValueError);
  nb::exception<aecodec::EndError>(m, "EndError", stream_error);
  nb::class_<aecodec::Tables>(m, "Tables")
      .def("__init__", &make_tables, "cumulative"_a.noconvert(), "lengths"_a.noconvert(),
           "offsets"_a.noconvert())
      .def("__len__", &aecodec::Tables::size);
  m.def("encode", &encode, "symbols"_a.noconvert(), "indexes"_a.noconvert(), "tables"_a);
  m.def("product", &product, "weight"_a.noconvert(), "x"_a.noconvert(), "sums"_a.noconvert());
  m.def("table_index", &table_index, "sums"_a.noconvert(), "multiplier"_a.noconvert(), "bias"_a.noconvert(), "shift"_a,
        "index"_a.noconvert());
  nb::class_<aecodec::Decoder>(m, "Decoder")
      .def("__init__", &make_decoder, "data"_a, nb::keep_alive<1, 2>())
      .def("decode", &decode, "indexes"_a.noconvert(), "tables"_a, "symbols"_a.noconvert())
      .def("finish", &aecodec::Decoder::finish);
  nb::class_<aecodec::Receiver>(m, "Receiver")
      .def("__init__", &make_receiver, "arrays"_a, "N"_a, "M"_a, "kernel"_a = "")
      .def("render", &render, "z"_a.noconvert(), "y"_a.noconvert(), "window"_a, "padded"_a, "level"_a, "area"_a, "factor"_a,
           "threads"_a, "out"_a.noconvert())
      .def("y_hat", &y_hat, "z"_a.noconvert(), "y"_a.noconvert(), "window"_a, "padded"_a, "level"_a, "area"_a, "threads"_a,
           "out"_a.noconvert())
      .def("quantize", &quantize, "z"_a.noconvert(), "window"_a, "y"_a.noconvert(), "y_window"_a, "index"_a.noconvert(),
           "dead_zone"_a.noconvert(), "padded"_a, "level"_a, "area"_a, "threads"_a, "out"_a.noconvert(), "step"_a.noconvert() = nb::none(),
           "mean"_a.noconvert() = nb::none())
      .def_static("strips", &strips, "padded"_a, "area"_a, "threads"_a)
      .def_static("kernels", &kernels);
  nb::class_<aecodec::Analysis>(m, "Analysis")
      .def("__init__", &make_analysis, "arrays"_a, "kernel"_a = "")
      .def("analyze", &analyze, "pixels"_a.noconvert(), "level"_a, "area"_a, "threads"_a, "out"_a.noconvert())
      .def("hyper_analyze", &hyper_analyze, "y"_a.noconvert(), "window"_a, "padded"_a, "level"_a, "area"_a, "threads"_a,
           "out"_a.noconvert());
  nb::class_<aecodec::Gradient>(m, "Gradient")
      .def("__init__", &make_gradient, "arrays"_a, "kernel"_a = "")
      .def("move", &move, "pixels"_a.noconvert(), "y"_a.noconvert(), "symbols"_a.noconvert(), "step"_a.noconvert(),
           "mean"_a.noconvert(), "window"_a, "index"_a.noconvert(), "bits"_a.noconvert(), "error"_a, "rate"_a, "curvature"_a,
           "level"_a, "area"_a, "threads"_a, "out"_a.noconvert());
}
