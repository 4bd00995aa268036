#include "core/base/parallel.h"

#include <algorithm>
#include <exception>
#include <thread>
#include <vector>

namespace seq1f1b::base {

void parallel_ranges(int threads, std::int64_t count, std::int64_t smallest,
                     const std::function<void(std::int64_t begin, std::int64_t end)>& body) {
  if (count <= 0) return;
  const std::int64_t most = std::max<std::int64_t>(1, count / std::max<std::int64_t>(1, smallest));
  const std::int64_t pieces = std::clamp<std::int64_t>(threads, 1, most);
  std::vector<std::exception_ptr> failures(static_cast<std::size_t>(pieces));
  const auto run = [&](std::int64_t piece) {
    try {
      // count * piece would pass 64 bits only beyond 2^63 / threads indices.
      body(count * piece / pieces, count * (piece + 1) / pieces);
    } catch (...) {
      failures[static_cast<std::size_t>(piece)] = std::current_exception();
    }
  };
  {
    std::vector<std::jthread> helpers;
    for (std::int64_t piece = 1; piece < pieces; ++piece) helpers.emplace_back(run, piece);
    run(0);
  }
  for (const std::exception_ptr& failure : failures)
    if (failure) std::rethrow_exception(failure);
}

}  // namespace seq1f1b::base
