// SPDX-License-Identifier: Apache-2.0

#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace aecodec {

// Calls work(0) .. work(count - 1) on up to `threads` threads, of which the caller's is one. What work throws is thrown
// again when all threads have ended; where threads cannot be had, fewer do it.
template <typename Work>
void parallel(std::size_t count, int threads, const Work& work) {
  std::atomic<std::size_t> next{0};
  std::exception_ptr failure;
  std::mutex mutex;
  const auto run = [&] {
    try {
      for (std::size_t i = next++; i < count; i = next++) work(i);
    } catch (...) {
      const std::lock_guard<std::mutex> lock(mutex);
      failure = std::current_exception();
      next = count;
    }
  };
  const std::size_t others = std::min(count, static_cast<std::size_t>(std::max(threads, 1))) - std::min<std::size_t>(count, 1);
  std::vector<std::thread> helpers;
  helpers.reserve(others);
  try {
    while (helpers.size() < others) helpers.emplace_back(run);
  } catch (const std::exception&) {  // a limit of the machine: of its threads, or of memory
  }
  run();
  for (std::thread& helper : helpers) helper.join();
  if (failure) std::rethrow_exception(failure);
}

}  // namespace aecodec
