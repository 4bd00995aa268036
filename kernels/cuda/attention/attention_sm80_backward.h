#pragma once
// What the two backward kernels on mma.sync share, and their launchers.
#include <limits>

#include "kernels/cuda/attention/attention_mask.h"
#include "kernels/cuda/attention/attention_sm80.h"
#include "kernels/cuda/attention/attention_tiles.h"

namespace seq1f1b::kernels::cuda {

// What a launch of a backward kernel is told. delta: attention_delta's, [mb, heads, tokens].
struct BackwardArguments {
  AttentionBackward operands;
  BlockOrder order;
  const float* delta;
  // Of the one-pass variant, else null: fp32 [mb, tokens, heads, head_dim], zeros before.
  float* grad_query_sum;
};

// Dynamic shared memory of a block, of those over keys the most that one takes.
int attention_sm80_backward_key_bytes(int head_dim, bool with_query);
int attention_sm80_backward_query_bytes(int head_dim);

// attention_sm80_backward_key.cu: grad_key, grad_value, and grad_query_sum unless it is null.
void attention_sm80_backward_key(Context& context, const BackwardArguments& arguments);
// attention_sm80_backward_query.cu: grad_query.
void attention_sm80_backward_query(Context& context, const BackwardArguments& arguments);

// A probability from its score: exp(scale score - log_sum_exp), both to the base of two. Queries
// beyond the end have a log_sum_exp of +inf: probability 0.
__device__ __forceinline__ float probability(float score, float scale_log2, float log_sum_exp2) {
  return exp2_approx(score * scale_log2 - log_sum_exp2);
}
inline constexpr float kNoQuery = std::numeric_limits<float>::infinity();

}  // namespace seq1f1b::kernels::cuda
