// SPDX-License-Identifier: Apache-2.0
//
// The weights file (docs/format.md, section 5): safetensors with a strict index, named by its SHA-256. Hostile until
// it is checked, as a picture is: a digest proves that a file is whole, not who made it.

#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "array.hpp"
#include "container.hpp"
#include "sha256.hpp"

namespace aecodec {

class Weights {
 public:
  // Views of a file, which must outlive them. Throws Error for what is no weights file or differs from its own SHA-256.
  explicit Weights(Bytes file);

  // Those whose names begin with a prefix, without it.
  Arrays arrays(const std::string& prefix) const;
  bool has(const std::string& name) const { return arrays_.count(name) != 0; }
  std::uint32_t model_id() const { return model_id_; }
  const std::string& config() const { return config_; }  // JSON

  // An array of a name. Throws Error where there is none of this type and number of dimensions.
  const ArrayView& get(const std::string& name, Type type, std::size_t dimensions) const;

 private:
  void add(const std::string& name, ArrayView view, const std::uint8_t* data, std::size_t size);

  Arrays arrays_;
  std::deque<std::vector<std::int32_t>> aligned_;  // copies of what was not aligned in the file
  std::uint32_t model_id_ = 0;
  std::string config_;
};

}  // namespace aecodec
