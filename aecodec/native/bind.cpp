// SPDX-License-Identifier: Apache-2.0
// Python bindings of rans.hpp and index.hpp: numpy buffers in and out, no logic. The GIL is released while coding.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include "index.hpp"
#include "rans.hpp"

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

void table_index(Array<float, 3> sums, Array<std::int32_t, 1> multiplier, Array<std::int64_t, 1> bias, int shift,
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

}  // namespace

NB_MODULE(_native, m) {
  const auto stream_error = nb::exception<aecodec::StreamError>(m, "StreamError", PyExc_ValueError);
  nb::exception<aecodec::EndError>(m, "EndError", stream_error);
  nb::class_<aecodec::Tables>(m, "Tables")
      .def("__init__", &make_tables, "cumulative"_a.noconvert(), "lengths"_a.noconvert(),
           "offsets"_a.noconvert())
      .def("__len__", &aecodec::Tables::size);
  m.def("encode", &encode, "symbols"_a.noconvert(), "indexes"_a.noconvert(), "tables"_a);
  m.def("table_index", &table_index, "sums"_a.noconvert(), "multiplier"_a.noconvert(), "bias"_a.noconvert(), "shift"_a,
        "index"_a.noconvert());
  nb::class_<aecodec::Decoder>(m, "Decoder")
      .def("__init__", &make_decoder, "data"_a, nb::keep_alive<1, 2>())
      .def("decode", &decode, "indexes"_a.noconvert(), "tables"_a, "symbols"_a.noconvert())
      .def("finish", &aecodec::Decoder::finish);
}
