#pragma once
// Storage that chunks may ask for, in proportion to their segments.
#include <cstdint>
#include <vector>

#include "core/schedule/memory_plan.h"
#include "core/schedule/packing.h"

namespace seq1f1b::schedule {

inline ChunkDemand units_only(const std::vector<std::int64_t>& lengths,
                              std::size_t bytes_per_token) {
  ChunkDemand demand;
  for (const std::int64_t length : lengths)
    demand.of(Lifetime::kActivations).push_back(static_cast<std::size_t>(length) * bytes_per_token);
  return demand;
}

// A transformer stage: activations, K and V, their fp32 gradients, scratch, and what a split
// backward keeps.
inline ChunkDemand transformer(const std::vector<std::int64_t>& lengths) {
  ChunkDemand demand = units_only(lengths, 34 * 64);
  std::size_t tokens = 0;
  for (const std::int64_t length : lengths) {
    const auto segment = static_cast<std::size_t>(length);
    tokens += segment;
    demand.of(Lifetime::kStash).push_back(segment * 8 * 64);
    demand.of(Lifetime::kBackwardActivations).push_back(segment * 5 * 64);
    demand.workspace_of(Kind::kForward).push_back(segment * 12 * 64);
    demand.workspace_of(Kind::kBackward).push_back(segment * 20 * 64);
    demand.workspace_of(Kind::kWeightGrad).push_back(segment * 6 * 64);
  }
  demand.of(Lifetime::kCarry) = {tokens * 4 * 64};
  demand.of(Lifetime::kCarryGradient) = {tokens * 8 * 64};
  return demand;
}

// Most slots of a lifetime alive at once, e.g. KV slots in use.
inline std::size_t peak_count(const MemoryPlan& plan, Lifetime lifetime) {
  std::vector<Interval> ones;
  for (const Slot& slot : plan.slots())
    if (slot.lifetime == lifetime) ones.push_back({slot.first_action, slot.last_action, 1});
  return live_maximum(ones);
}

}  // namespace seq1f1b::schedule
