#pragma once
// Offline interval packing: storage for items whose lifetimes are known beforehand (dynamic storage
// allocation). Finding the smallest arena is NP-hard (Garey and Johnson, problem SR2); several
// greedy passes are tried and the best kept.
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace seq1f1b::schedule {

struct Interval {
  std::int32_t first = 0, last = 0;  // inclusive
  std::size_t bytes = 0;
};

struct Packing {
  std::vector<std::size_t> offsets;  // of every interval or place
  std::size_t bytes = 0;             // of the arena
};

// Largest sum of the bytes alive at one point: no packing can be smaller.
std::size_t live_maximum(std::span<const Interval> intervals);

// Deterministic. Offsets are sums of sizes, hence multiples of any common divisor of the sizes.
Packing pack(std::span<const Interval> intervals);
// Intervals may share a place (numbers from 0, without gaps): those of one place have one size and
// never overlap. The offsets are those of the places.
Packing pack(std::span<const Interval> intervals, std::span<const std::int32_t> place_of);

}  // namespace seq1f1b::schedule
