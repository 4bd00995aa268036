#pragma once
// Attention for Hopper: wgmma and TMA, warp-specialised. Each function returns whether it serves
// the problem; if not, it has done nothing, and the kernels of compute capability 8.0 take it.
//
// Served: bf16 on sm_90a; head dimensions divisible by 8 up to 128 (tuned for 64 and 128; others
// run padded to the next of the two, by boxes that read zeros beyond the tensor); tensors aligned
// to 16 bytes; scale > 0; documents too.
#include <cstddef>
#include <cstdint>

#include "kernels/cuda/attention.h"

namespace seq1f1b::kernels::cuda {

// Whether attention.cpp asks these kernels first. They stay out until they have agreed with the
// fp64 reference at least on the emulator of tests/simt.
inline constexpr bool kUseSm90 = false;

bool attention_sm90_forward(Context& context, const AttentionForward& operands);

// Takes attention_sm90_scratch_bytes from context.scratch. context.deterministic: two kernels, over
// key blocks for grad_key and grad_value and over query blocks for grad_query, seven products. Else
// one kernel, five products, which adds grad_query in fp32 in any order.
bool attention_sm90_backward(Context& context, const AttentionBackward& operands);

// Queries are padded to whole tiles of this many in scratch, columns to whole panels.
inline constexpr std::int64_t kSm90ScratchTile = 128;
constexpr std::int64_t attention_sm90_padded_tokens(std::int64_t tokens) {
  return (tokens + kSm90ScratchTile - 1) / kSm90ScratchTile * kSm90ScratchTile;
}
constexpr std::int64_t attention_sm90_padded_dim(std::int64_t head_dim) {
  return head_dim <= 64 ? 64 : 128;
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
