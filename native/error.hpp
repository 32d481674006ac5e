// SPDX-License-Identifier: Apache-2.0
// Inside the library errors are exceptions; api.cpp turns them into a status and a text.

#pragma once

#include <stdexcept>
#include <string>

#include "aecodec.h"

namespace aecodec {

struct Error : std::runtime_error {
  Error(aecodec_status status_, const std::string& text) : std::runtime_error(text), status(status_) {}

  aecodec_status status;
};

}  // namespace aecodec
