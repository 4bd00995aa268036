#pragma once
// Cutting a sequence into segments. Source: METHOD section 4 (computation-wise partition).
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace seq1f1b::schedule {

// Forward cost of a segment of `length` tokens that ends at position `end`:
//   attention * length * (end - length / 2) + linear * length
struct SegmentCost {
  double attention = 0;  // FLOPs per visible (query, key) pair, A
  double linear = 0;     // FLOPs per token, Bc
  double operator()(double length, double end) const {
    return attention * length * (end - length / 2) + linear * length;
  }
};

// The authors' coefficients: A = L H (4 d + 3), Bc = L (8 h H d + 4 h f) + 4 h V.
SegmentCost authors_cost(int layers, int hidden, int heads, int head_dim, std::int64_t ffn,
                         std::int64_t vocab);

// Equal lengths, multiples of `alignment` but for the first, which takes the rest.
std::vector<std::int64_t> partition_even(std::int64_t tokens, int segments, int alignment);
// Equal cost, solved right to left; each length but the first is rounded down to the alignment.
std::vector<std::int64_t> partition_flops(std::int64_t tokens, int segments, int alignment,
                                          const SegmentCost& cost);
// All three forms throw ConfigError when a segment would be empty, or explicit lengths do not add
// up to `tokens` or break the alignment (the first segment is free).
std::vector<std::int64_t> check_lengths(std::span<const std::int64_t> lengths, std::int64_t tokens,
                                        int segments, int alignment);

}  // namespace seq1f1b::schedule
