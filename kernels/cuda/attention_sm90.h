#pragma once
// Attention for Hopper: wgmma and TMA, warp-specialised. Each function returns whether it serves
// the problem; if not, it has done nothing, and the kernels of compute capability 8.0 take it.
//
// Served: bf16 on sm_90a; head dimensions divisible by 8 up to 128 (tuned for 64 and 128; others
// run padded to the next of the two, by boxes that read zeros beyond the tensor); tensors aligned
// to 16 bytes; scale > 0. Forward serves documents, backward does not.
//
// No kernel of this family has run on a GPU: see kUseSm90 below and
// benchmarks/cuda_kernels_static.md.
#include <cstddef>

#include "kernels/common/bf16.h"
#include "kernels/cuda/attention.h"

namespace seq1f1b::kernels::cuda {

// Whether attention.cpp asks these kernels first. They stay out until they have agreed with the
// fp64 reference at least on the emulator of tests/simt.
inline constexpr bool kUseSm90 = false;

// Arguments as of Ops::attention_forward; log_sum_exp is [micro_batch, heads, tokens].
bool attention_sm90_forward(Context& context, const AttentionShape& shape, const Bf16* query,
                            const Bf16* key, const Bf16* value, Bf16* output, float* log_sum_exp);

// Arguments as of Ops::attention_backward. Takes attention_sm90_scratch_bytes from context.scratch.
// context.deterministic: two kernels, over key blocks for grad_key and grad_value and over query
// blocks for grad_query, seven products. Else one kernel, five products, which adds grad_query in
// fp32 in any order.
bool attention_sm90_backward(Context& context, const AttentionShape& shape, const Bf16* grad_output,
                             const Bf16* query, const Bf16* key, const Bf16* value,
                             const Bf16* output, const float* log_sum_exp, Bf16* grad_query,
                             float* grad_key, float* grad_value, Accumulate mode);

// Queries are padded to whole tiles of this many in scratch.
inline constexpr int kSm90ScratchTile = 128;

// Scratch of the backward: two statistics per query, and the fp32 sums of grad_query where they are
// added in any order.
constexpr std::size_t attention_sm90_scratch_bytes(std::size_t micro_batch, std::size_t tokens,
                                                   std::size_t heads, std::size_t head_dim,
                                                   bool deterministic) {
  const std::size_t padded = (tokens + kSm90ScratchTile - 1) / kSm90ScratchTile * kSm90ScratchTile;
  const std::size_t rows = micro_batch * heads * padded, width = head_dim <= 64 ? 64 : 128;
  const auto pieces = [](std::size_t floats) { return (floats * sizeof(float) + 255) / 256 * 256; };
  return 2 * pieces(rows) + (deterministic ? 0 : pieces(rows * width));
}

}  // namespace seq1f1b::kernels::cuda
