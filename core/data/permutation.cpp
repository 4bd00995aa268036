#include "core/data/permutation.h"

#include <bit>
#include <utility>

#include "kernels/common/errors.h"
#include "kernels/common/philox.h"

namespace seq1f1b::data {
namespace {

constexpr std::uint64_t kRounds = 8;

}  // namespace

void shuffle(std::span<std::int64_t> values, std::uint64_t key) {
  for (std::uint64_t i = values.size(); i-- > 1;) {
    const auto bits = kernels::philox(key, i);
    const std::uint64_t draw = std::uint64_t{bits[1]} << 32 | bits[0];
    // Scaled by the high half of the product; its bias is below (i + 1) / 2^64.
    const auto other =
        static_cast<std::uint64_t>(static_cast<unsigned __int128>(draw) * (i + 1) >> 64);
    std::swap(values[i], values[other]);
  }
}

std::int64_t permute(std::int64_t index, std::int64_t size, std::uint64_t key,
                     std::uint64_t epoch) {
  SEQ1F1B_ASSERT(index >= 0 && index < size, "index ", index, " of ", size);
  const auto limit = static_cast<std::uint64_t>(size);
  const int half_bits = (std::bit_width(limit - 1) + 1) / 2;
  const std::uint64_t mask = (std::uint64_t{1} << half_bits) - 1;
  auto value = static_cast<std::uint64_t>(index);
  do {
    std::uint64_t left = value >> half_bits;
    std::uint64_t right = value & mask;
    for (std::uint64_t round = 0; round < kRounds; ++round) {
      // A half has at most 32 bits, so the round number fits above it.
      const auto bits = kernels::philox(key, right | round << 32, epoch);
      left ^= bits[0] & mask;
      std::swap(left, right);
    }
    value = left << half_bits | right;
  } while (value >= limit);
  return static_cast<std::int64_t>(value);
}

}  // namespace seq1f1b::data
