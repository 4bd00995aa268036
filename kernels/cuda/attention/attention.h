#pragma once
// Fused causal attention over a prefix: what the kernels take, and who is chosen. Formulas and
// layouts are those of Ops::attention_forward and attention_backward (kernels/ops.h).
#include <cstdint>

#include "kernels/cuda/context.h"
#include "kernels/ops.h"

namespace seq1f1b::kernels::cuda {

// One problem, in elements of row-major storage.
struct AttentionShape {
  int micro_batch = 0, tokens = 0, heads = 0, kv_heads = 0, head_dim = 0;
  int capacity = 0;  // rows of key and value in memory
  int query_start = 0, key_start = 0, key_length = 0;
  const std::int32_t* document_start = nullptr;  // [micro_batch, tokens] or null, device
  float scale = 1;                               // of the scores, natural exponent
  // Who sees whom is in attention_mask.h.
};
AttentionShape attention_shape(const Tensor& query, const Tensor& key, const AttentionRange& range,
                               double scale);

// The operands of one call, in device memory; the compute type is the callee's.
struct AttentionForward {
  AttentionShape shape;
  const void* query;   // [mb, tokens, heads, head_dim]
  const void* key;     // [mb, kv_heads, capacity, head_dim], rows < key_length
  const void* value;   // likewise
  void* output;        // [mb, tokens, heads, head_dim]
  float* log_sum_exp;  // [mb, heads, tokens], natural logarithm
};
struct AttentionBackward {
  AttentionShape shape;
  const void* grad_output;   // [mb, tokens, heads, head_dim]
  const void* query;         // likewise
  const void* key;           // [mb, kv_heads, capacity, head_dim], rows < key_length
  const void* value;         // likewise
  const void* output;        // [mb, tokens, heads, head_dim]
  const float* log_sum_exp;  // [mb, heads, tokens]
  void* grad_query;          // [mb, tokens, heads, head_dim], written
  float* grad_key;           // [mb, kv_heads, capacity, head_dim], rows < key_length
  float* grad_value;         // likewise
  bool add;                  // into grad_key and grad_value; else overwrite
};

// attention.cpp: chooses by architecture, type and head dimension.
void attention_forward(Context& context, const Tensor& query, const Tensor& key,
                       const Tensor& value, const AttentionRange& range, double scale,
                       const Tensor& output, const Tensor& log_sum_exp);
void attention_backward(Context& context, const Tensor& grad_output, const Tensor& query,
                        const Tensor& key, const Tensor& value, const Tensor& output,
                        const Tensor& log_sum_exp, const AttentionRange& range, double scale,
                        const Tensor& grad_query, const Tensor& grad_key, const Tensor& grad_value,
                        Accumulate mode);

// attention_sm80_forward.cu, attention_sm80_backward_query.cu: bf16 on tensor cores by mma.sync.
// False, and nothing is done, where the problem is not one of theirs: head_dim no multiple of 8 or
// above 256, an operand that is not aligned to 16 bytes, a scale that is not positive, or more
// shared memory than a block of this GPU gets.
bool attention_sm80_forward(Context& context, const AttentionForward& operands);
bool attention_sm80_backward(Context& context, const AttentionBackward& operands);

// attention_general.cu: any head_dim up to 256, bf16 or fp32 in memory, fp32 arithmetic. Throws
// ConfigError where a block of this GPU gets too little shared memory.
void attention_general_forward(Context& context, const AttentionForward& operands, Dtype compute);
void attention_general_backward(Context& context, const AttentionBackward& operands, Dtype compute);

}  // namespace seq1f1b::kernels::cuda
