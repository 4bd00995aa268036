#pragma once
// Scratch of the attention kernels: plain host code, read by the plan and by the launchers.
#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "kernels/cuda/scratch.h"

namespace seq1f1b::kernels::cuda {

// The forward shares a query tile's keys among blocks where there are fewer tiles than
// multiprocessors: each part leaves an output in fp32 and its log-sum-exp.
inline constexpr int kSplitTileRows = 128;    // no forward kernel has tiles of more queries
inline constexpr int kMaxSplits = 16;         // parts of one tile
inline constexpr int kMaxSplitParts = 160;    // parts in all: multiprocessors made use of
inline constexpr int kLeastTilesOfSplit = 4;  // key tiles that pay for a part of their own

// Parts per query tile. `tiles`: query tiles times heads times sequences, `key_tiles`: the most
// that one of them sees.
inline int attention_splits(std::int64_t tiles, std::int64_t key_tiles, int multiprocessors) {
  const std::int64_t parts =
      std::min(multiprocessors, kMaxSplitParts) / std::max<std::int64_t>(tiles, 1);
  return static_cast<int>(
      std::clamp<std::int64_t>(std::min(parts, key_tiles / kLeastTilesOfSplit), 1, kMaxSplits));
}

constexpr std::size_t scratch_floats(std::int64_t floats) {  // as Scratch::take rounds
  return (static_cast<std::size_t>(floats) * sizeof(float) + 255) / 256 * 256;
}

// Of any call with up to these extents: tiles times parts never exceeds kMaxSplitParts, nor parts
// kMaxSplits.
inline std::size_t attention_forward_scratch(const ScratchShape& shape) {
  const std::int64_t rows = shape.micro_batch * shape.heads * shape.tokens;
  const std::int64_t most =
      std::min<std::int64_t>(rows * kMaxSplits, std::int64_t{kMaxSplitParts} * kSplitTileRows);
  return scratch_floats(most * shape.head_dim) + scratch_floats(most);
}

// The largest heads that Hopper's kernels take.
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
// What Hopper's backward takes: two statistics per query; where sums run in any order, grad_query
// in fp32.
constexpr std::size_t attention_sm90_scratch_bytes(std::int64_t micro_batch, std::int64_t tokens,
                                                   std::int64_t heads, std::int64_t head_dim,
                                                   bool deterministic) {
  const std::int64_t rows = micro_batch * heads * attention_sm90_padded_tokens(tokens);
  const std::int64_t sums = deterministic ? 0 : rows * attention_sm90_padded_dim(head_dim);
  return 2 * scratch_floats(rows) + scratch_floats(sums);
}

// delta = rowsum(grad_output * output), and where sums may run in any order grad_query in fp32.
// What the kernels of compute capability 8.0 and of 9.0 take, whichever is more: the plan does not
// know the device.
inline std::size_t attention_backward_scratch(const ScratchShape& shape) {
  const std::int64_t rows = shape.micro_batch * shape.heads * shape.tokens;
  const bool one_pass = !shape.deterministic && !shape.fp32;
  const std::size_t sm80 =
      scratch_floats(rows) + (one_pass ? scratch_floats(rows * shape.head_dim) : 0);
  const std::size_t sm90 =
      shape.fp32 || shape.head_dim > kSm90MaxBackwardHeadDim
          ? 0
          : attention_sm90_scratch_bytes(shape.micro_batch, shape.tokens, shape.heads,
                                         shape.head_dim, shape.deterministic);
  return std::max(sm80, sm90);
}

// The gradient of key or value that cuDNN leaves in bf16, of all keys up to `keys`.
inline std::size_t cudnn_gradient_bytes(std::int64_t micro_batch, std::int64_t kv_heads,
                                        std::int64_t keys, std::int64_t head_dim) {
  return (static_cast<std::size_t>(micro_batch * kv_heads * keys * head_dim) * 2 + 255) / 256 * 256;
}

inline std::size_t attention_scratch(const ScratchShape& shape) {
  std::size_t bytes = 0;
  if (shape.own_attention)
    bytes = std::max(attention_forward_scratch(shape), attention_backward_scratch(shape));
  if (shape.cudnn)
    bytes = std::max(bytes, 2 * cudnn_gradient_bytes(shape.micro_batch, shape.kv_heads,
                                                     shape.seq_length, shape.head_dim));
  return bytes;
}

}  // namespace seq1f1b::kernels::cuda
