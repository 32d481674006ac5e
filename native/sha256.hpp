// SPDX-License-Identifier: Apache-2.0

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

namespace aecodec {

// SHA-256 (FIPS 180-4) of all that was added.
class Sha256 {
 public:
  using Digest = std::array<std::uint8_t, 32>;

  void add(const void* data, std::size_t size);
  void add(const std::string& text) { add(text.data(), text.size()); }
  Digest digest();  // ends it

 private:
  static constexpr std::size_t kBlock = 64;

  std::array<std::uint32_t, 8> state_{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<std::uint8_t, kBlock> rest_{};  // what does not fill a block yet
  std::uint64_t size_ = 0;                   // of all that was added, in bytes
};

}  // namespace aecodec
