#pragma once
// Storage that chunks may ask for, in proportion to their segments.
#include <cstdint>
#include <vector>

#include "core/schedule/memory_plan.h"

namespace seq1f1b::schedule {

inline ChunkDemand units_only(const std::vector<std::int64_t>& lengths,
                              std::size_t bytes_per_token) {
  ChunkDemand demand;
  for (const std::int64_t length : lengths)
    demand.activations.push_back(static_cast<std::size_t>(length) * bytes_per_token);
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
    demand.stash.push_back(segment * 8 * 64);
    demand.workspace[0].push_back(segment * 12 * 64);
    demand.workspace[1].push_back(segment * 20 * 64);
    demand.workspace[2].push_back(segment * 6 * 64);
  }
  demand.carry = tokens * 4 * 64;
  demand.carry_gradient = tokens * 8 * 64;
  return demand;
}

}  // namespace seq1f1b::schedule
