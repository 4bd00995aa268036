#include "core/plan/unit_geometry.h"

#include <algorithm>
#include <numeric>

namespace seq1f1b::plan {

UnitGeometry::UnitGeometry(std::int64_t batch_size, std::span<const std::int64_t> segment_lengths)
    : batch_size_(batch_size) {
  const std::int64_t capacity =
      std::accumulate(segment_lengths.begin(), segment_lengths.end(), std::int64_t{0});
  std::int64_t start = 0;
  for (const std::int64_t tokens : segment_lengths) {
    shapes_.push_back(
        {.batch_size = batch_size, .start = start, .tokens = tokens, .capacity = capacity});
    start += tokens;
  }
}

std::int64_t UnitGeometry::most_tokens() const {
  return std::ranges::max_element(shapes_, {}, &model::SegmentShape::tokens)->tokens;
}

std::int64_t UnitGeometry::most_rows() const { return batch_size_ * most_tokens(); }

std::int64_t UnitGeometry::tokens() const { return shapes_.front().capacity; }

std::int64_t UnitGeometry::first_row(schedule::Unit unit) const {
  return batch_size_ * (unit.micro_batch * tokens() + shape(unit).start);
}

}  // namespace seq1f1b::plan
