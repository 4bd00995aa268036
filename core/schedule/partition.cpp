#include "core/schedule/partition.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/common/errors.h"

namespace seq1f1b::schedule {
namespace {

void check_request(std::int64_t tokens, int segments, int alignment) {
  if (tokens < 1) throw ConfigError(concat("training.seq_length = ", tokens, " must be positive"));
  if (segments < 1)
    throw ConfigError(concat("schedule.segments = ", segments, " must be positive"));
  if (alignment < 1)
    throw ConfigError(concat("schedule.alignment = ", alignment, " must be positive"));
}

[[noreturn]] void throw_empty(std::int64_t tokens, int segments, int alignment) {
  throw ConfigError(concat("a sequence of ", tokens, " tokens cannot be cut into ", segments,
                           " segments whose lengths are multiples of ", alignment,
                           ": one would be empty; lower schedule.segments or schedule.alignment"));
}

// The later segments get fewer tokens, and less than one multiple of the alignment was left for one.
[[noreturn]] void throw_too_cheap(std::int64_t tokens, int segments, int alignment) {
  if (tokens <= std::int64_t{segments - 1} * alignment) throw_empty(tokens, segments, alignment);
  throw ConfigError(concat("a sequence of ", tokens, " tokens cannot be cut into ", segments,
                           " segments of equal cost whose lengths are multiples of ", alignment,
                           ": one would be empty; lower schedule.segments or schedule.alignment, "
                           "or set schedule.partition: even"));
}

std::string join(std::span<const std::int64_t> lengths) {
  std::string text;
  for (const std::int64_t length : lengths) text += concat(text.empty() ? "" : ", ", length);
  return text;
}

}  // namespace

SegmentCost authors_cost(int layers, int hidden, int heads, int head_dim, std::int64_t ffn,
                         std::int64_t vocab) {
  const double l = layers, h = hidden, n_heads = heads, d = head_dim;
  return {.attention = l * n_heads * (4 * d + 3),
          .linear = l * (8 * h * n_heads * d + 4 * h * static_cast<double>(ffn)) +
                    4 * h * static_cast<double>(vocab)};
}

std::vector<std::int64_t> partition_even(std::int64_t tokens, int segments, int alignment) {
  check_request(tokens, segments, alignment);
  // Of the multiples around the mean take the one whose longest segment is shorter.
  const auto first = [&](std::int64_t length) { return tokens - (segments - 1) * length; };
  const std::int64_t below = tokens / segments / alignment * alignment;
  const std::int64_t above = below + alignment;
  const bool round_up = first(above) >= 1 && above < first(below);
  const std::int64_t length = round_up ? above : below;
  if (segments > 1 && length == 0) throw_empty(tokens, segments, alignment);
  std::vector<std::int64_t> lengths(static_cast<std::size_t>(segments), length);
  lengths.front() = first(length);
  return lengths;
}

std::vector<std::int64_t> partition_flops(std::int64_t tokens, int segments, int alignment,
                                          const SegmentCost& cost) {
  check_request(tokens, segments, alignment);
  SEQ1F1B_ASSERT(cost.attention >= 0 && cost.linear >= 0 && cost.attention + cost.linear > 0,
                 "cost of a segment must be positive");
  const auto n = static_cast<double>(tokens);
  const double share = cost(n, n) / segments;
  std::vector<std::int64_t> lengths(static_cast<std::size_t>(segments));
  std::int64_t end = tokens;
  for (std::size_t i = lengths.size() - 1; i > 0; --i) {
    // The smaller root of a S^2 - b S + share = 0, written so that a = 0 needs no case of its own.
    // Rounding down leaves [0, end) at least i + 1 shares to give, so the root is real.
    const double a = cost.attention / 2;
    const double b = cost.attention * static_cast<double>(end) + cost.linear;
    const double length = 2 * share / (b + std::sqrt(std::max(0.0, b * b - 4 * a * share)));
    lengths[i] = static_cast<std::int64_t>(length) / alignment * alignment;
    if (lengths[i] == 0) throw_too_cheap(tokens, segments, alignment);
    end -= lengths[i];
  }
  lengths.front() = end;
  return lengths;
}

std::vector<std::int64_t> check_lengths(std::span<const std::int64_t> lengths, std::int64_t tokens,
                                        int segments, int alignment) {
  check_request(tokens, segments, alignment);
  const auto refuse = [&](const auto&... why) {
    throw ConfigError(concat("schedule.partition = [", join(lengths), "]: ", why...));
  };
  if (lengths.size() != static_cast<std::size_t>(segments))
    refuse("has ", lengths.size(), " lengths, but schedule.segments = ", segments);
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    if (lengths[i] < 1 || lengths[i] > tokens)
      refuse("length ", lengths[i], " is not between 1 and training.seq_length = ", tokens);
    if (i > 0 && lengths[i] % alignment != 0)
      refuse("length ", lengths[i], " is no multiple of schedule.alignment = ", alignment,
             " (only the first may be any length)");
  }
  const std::int64_t sum = std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0});
  if (sum != tokens) refuse("the lengths add up to ", sum, ", but training.seq_length = ", tokens);
  return {lengths.begin(), lengths.end()};
}

}  // namespace seq1f1b::schedule
