// SPDX-License-Identifier: Apache-2.0

#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace aecodec {

enum class Type { kF16, kF32, kI8, kI16, kI32 };

// Numbers row by row, aligned for their type, in the byte order of the machine.
struct ArrayView {
  Type type = Type::kI8;
  std::vector<std::size_t> shape;
  const void* data = nullptr;

  std::size_t size() const {
    std::size_t count = 1;
    for (const std::size_t side : shape) count *= side;
    return count;
  }
  const float* f32() const { return static_cast<const float*>(data); }
  const std::int8_t* i8() const { return static_cast<const std::int8_t*>(data); }
  const std::int16_t* i16() const { return static_cast<const std::int16_t*>(data); }
  const std::int32_t* i32() const { return static_cast<const std::int32_t*>(data); }
};

using Arrays = std::map<std::string, ArrayView>;

}  // namespace aecodec
