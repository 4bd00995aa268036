#include "core/data/split.h"

#include <cmath>

#include "kernels/common/errors.h"

namespace seq1f1b::data {

std::array<std::int64_t, 4> split_bounds(const SplitProportions& proportions,
                                         std::int64_t documents) {
  const double total = proportions[0] + proportions[1] + proportions[2];
  SEQ1F1B_ASSERT(total > 0 && std::isfinite(total), "shares that add up to ", total);
  std::array<std::int64_t, 4> bounds{0, 0, 0, documents};
  double sum = 0;
  for (std::size_t i = 0; i < 2; ++i) {
    sum += proportions[i];
    bounds[i + 1] = std::llround(sum / total * static_cast<double>(documents));
  }
  return bounds;
}

}  // namespace seq1f1b::data
