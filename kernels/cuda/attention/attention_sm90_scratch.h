#pragma once
// Scratch of Hopper's attention backward: plain host code, read by the plan (scratch_attention.h)
// and by the launcher.
#include <cstddef>
#include <cstdint>

namespace seq1f1b::kernels::cuda {

inline constexpr int kSm90MaxForwardHeadDim = 256, kSm90MaxBackwardHeadDim = 128;

// Queries are padded to whole tiles of this many in scratch, columns to what the warp groups of the
// one-pass backward sum.
inline constexpr std::int64_t kSm90ScratchTile = 128;
constexpr std::int64_t attention_sm90_padded_tokens(std::int64_t tokens) {
  return (tokens + kSm90ScratchTile - 1) / kSm90ScratchTile * kSm90ScratchTile;
}
constexpr std::int64_t attention_sm90_padded_dim(std::int64_t head_dim) {
  return head_dim <= 64 ? 64 : head_dim <= 96 ? 96 : 128;
}
// Two statistics per query; where sums run in any order, grad_query in fp32.
constexpr std::size_t attention_sm90_scratch_bytes(std::int64_t micro_batch, std::int64_t tokens,
                                                   std::int64_t heads, std::int64_t head_dim,
                                                   bool deterministic) {
  const std::int64_t rows = micro_batch * heads * attention_sm90_padded_tokens(tokens);
  const auto piece = [](std::int64_t floats) {  // as Scratch::take rounds
    return (static_cast<std::size_t>(floats) * sizeof(float) + 255) / 256 * 256;
  };
  return 2 * piece(rows) + (deterministic ? 0 : piece(rows * attention_sm90_padded_dim(head_dim)));
}

}  // namespace seq1f1b::kernels::cuda
