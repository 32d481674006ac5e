// SPDX-License-Identifier: Apache-2.0
//
// libFuzzer target of the entropy coder (`make fuzz`). The input is a set of tables, indexes and a stream, all hostile.
// What decodes must encode to the same bytes again: a stream has one form, so nothing else may be accepted.

#include <cstdint>
#include <cstdlib>
#include <stdexcept>
#include <vector>

#include "../../native/rans.hpp"

namespace {

// Takes integers from the front of the input; zeros behind its end.
class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size) : next_(data), end_(data + size) {}

  std::uint32_t take(int bytes) {
    std::uint32_t value = 0;
    for (int k = 0; k < bytes; ++k) value |= std::uint32_t{next_ < end_ ? *next_++ : std::uint8_t{0}} << (8 * k);
    return value;
  }

  std::vector<std::uint8_t> rest() const { return {next_, end_}; }

 private:
  const std::uint8_t* next_;
  const std::uint8_t* end_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  const std::size_t count = input.take(1) % 4;
  std::vector<std::int32_t> cumulative, lengths, offsets;
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint32_t shape = input.take(1);
    const std::uint32_t entries = 1 + shape % 32;
    const bool broken = shape >= 248;  // a few sets are not sound: they must be refused
    std::uint32_t value = 0;
    for (std::uint32_t k = 0; k <= entries; ++k) {
      cumulative.push_back(static_cast<std::int32_t>(k == entries && !broken ? 1u << aecodec::PRECISION : value));
      value += 1 + input.take(2) % (65000 / entries);
    }
    lengths.push_back(static_cast<std::int32_t>(entries + 1));
    offsets.push_back(static_cast<std::int16_t>(input.take(2)));
  }
  try {
    const aecodec::Tables tables(cumulative.data(), cumulative.size(), lengths.data(), offsets.data(), count);
    std::vector<aecodec::Index> indexes(input.take(2) % 512);
    for (auto& index : indexes) index = static_cast<aecodec::Index>(input.take(1) % 5);
    const std::vector<std::uint8_t> stream = input.rest();
    std::vector<aecodec::Symbol> symbols(indexes.size());
    aecodec::Decoder decoder(stream.data(), stream.size());
    decoder.decode(indexes.data(), indexes.size(), tables, symbols.data());
    decoder.finish();
    if (aecodec::encode(symbols.data(), indexes.data(), symbols.size(), tables) != stream) std::abort();
  } catch (const aecodec::StreamError&) {
  } catch (const std::invalid_argument&) {
  }
  return 0;
}
