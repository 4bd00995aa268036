#pragma once
// The pieces of Hopper's attention backward, one kernel a file: attention_sm90_backward.cu
// prepares, chooses and finishes.
#include "kernels/cuda/attention/attention_sm90.h"
#include "kernels/cuda/attention/tensor_map.h"

namespace seq1f1b::kernels::cuda::sm90 {

inline constexpr int kBackwardKeys = 128;  // rows of a tile of keys

// Columns of a block of grad_query's sums, which one warp group multiplies at once: the columns of
// one panel, or half of them all, a whole number of steps.
constexpr int sum_width(int head_dim) { return head_dim > 64 && head_dim <= 96 ? 48 : 64; }

struct BackwardCall {
  AttentionBackward operands;
  TensorMap query, grad_output, grad_query;  // query_map_shape
  TensorMap key, value;                      // key_map_shape, kBackwardKeys rows
  // Of a query, [micro_batch, heads, padded_tokens]: log_sum_exp in base two, +infinity beyond the
  // last token, so that exponentials vanish there; grad_output . output, 0 there.
  float* log2_sum;
  float* delta;
  int padded_tokens;  // a multiple of kSm90ScratchTile
  // Sums of grad_query before scaling: [micro_batch, heads, padded_tokens / 64, padded_dim / width]
  // blocks of 64 x width, width = sum_width(head_dim), each as the registers of a product: [16-byte
  // piece j][thread of the warp group]. Null where grad_query has its own kernel.
  float* grad_query_sums;
};

// grad_key and grad_value; adds to grad_query_sums where there are any.
void backward_keys(Context& context, const BackwardCall& call);
// grad_query.
void backward_queries(Context& context, const BackwardCall& call);

}  // namespace seq1f1b::kernels::cuda::sm90
