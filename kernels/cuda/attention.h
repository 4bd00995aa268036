#pragma once
// Fused causal attention over a prefix: what the kernels take, and who is chosen. Formulas and
// layouts are those of Ops::attention_forward and attention_backward (kernels/ops.h).
#include "kernels/cuda/context.h"
#include "kernels/ops.h"

namespace seq1f1b::kernels::cuda {

// One problem, in elements of row-major storage.
struct AttentionShape {
  int micro_batch = 0, tokens = 0, heads = 0, kv_heads = 0, head_dim = 0;
  int capacity = 0;                               // rows of key and value in memory
  int query_start = 0, key_start = 0, key_length = 0;
  const std::int32_t* document_start = nullptr;   // [micro_batch, tokens] or null, device
  float scale = 1;                                // of the scores, natural exponent
  // The last key (exclusive, as a row) that the query at row i may see: bottom-right causal.
  // visible(i) = min(key_length, query_start + i + 1 - key_start)
};
AttentionShape attention_shape(const Tensor& query, const Tensor& key, const AttentionRange& range,
                               double scale);

// attention.cpp: chooses by architecture, type and head dimension.
void attention_forward(Context& context, const Tensor& query, const Tensor& key,
                       const Tensor& value, const AttentionRange& range, double scale,
                       const Tensor& output, const Tensor& log_sum_exp);
void attention_backward(Context& context, const Tensor& grad_output, const Tensor& query,
                        const Tensor& key, const Tensor& value, const Tensor& output,
                        const Tensor& log_sum_exp, const AttentionRange& range, double scale,
                        const Tensor& grad_query, const Tensor& grad_key, const Tensor& grad_value,
                        Accumulate mode);

}  // namespace seq1f1b::kernels::cuda
