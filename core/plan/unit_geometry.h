#pragma once
// The shapes of the units of a step. Whatever depends on them - storage, messages, tokens, cost -
// asks here, so that other cuts of some micro-batches (packed documents, say) would change one
// place.
#include <cstdint>
#include <span>
#include <vector>

#include "core/model/arena_layout.h"
#include "core/schedule/schedule.h"

namespace seq1f1b::plan {

class UnitGeometry {
 public:
  UnitGeometry() = default;
  // Every micro-batch has `batch_size` sequences, cut alike.
  UnitGeometry(std::int64_t batch_size, std::span<const std::int64_t> segment_lengths);

  const model::SegmentShape& shape(schedule::Unit unit) const {
    return shapes_[static_cast<std::size_t>(unit.segment)];
  }
  // By segment, upper bounds over the micro-batches: what storage is planned for.
  std::span<const model::SegmentShape> bounds() const { return shapes_; }
  std::int64_t most_tokens() const;  // of a unit, per sequence
  std::int64_t most_rows() const;    // of a unit
  std::int64_t tokens() const;       // of a sequence
  // Where the unit's rows begin among those of a step, the units one behind the other.
  std::int64_t first_row(schedule::Unit unit) const;

 private:
  std::int64_t batch_size_ = 1;
  std::vector<model::SegmentShape> shapes_;  // by segment
};

}  // namespace seq1f1b::plan
