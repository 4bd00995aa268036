#pragma once
// The passes over rows around the attention kernels, all memory-bound.
#include "kernels/cuda/attention/attention.h"
#include "kernels/cuda/context.h"
#include "kernels/ops.h"

namespace seq1f1b::kernels::cuda {

// Merges the parts of a split forward: output = sum_s w_s part_s, w_s = exp(lse_s - lse),
// lse = log sum_s exp(lse_s), s in increasing order. A part that saw no key has lse = -inf and
// zeros; no row has only such parts.
//   part_output       fp32 [splits, mb, tokens, heads, head_dim]
//   part_log_sum_exp  fp32 [splits, mb, heads, tokens]
void attention_combine(Context& context, const AttentionForward& operands, int splits,
                       const float* part_output, const float* part_log_sum_exp);

// delta = sum over head_dim of grad_output * output, fp32 [mb, heads, tokens]: what every score
// gradient of a row loses. compute: kBf16 or kF32.
void attention_delta(Context& context, const AttentionBackward& operands, Dtype compute,
                     float* delta);

// output[i] = bf16(input[i] * scale)
void attention_round(Context& context, const float* input, std::int64_t count, float scale,
                     void* output);

// cudnn_gradient.cu: rows [0, rows) of each plane of `accumulator`, fp32 [planes..., capacity,
// head_dim], become or are added those of `contribution`, bf16 [planes * rows * head_dim].
void take_carry_gradient(Context& context, const void* contribution, std::int64_t rows,
                         const Tensor& accumulator, Accumulate mode);

}  // namespace seq1f1b::kernels::cuda
