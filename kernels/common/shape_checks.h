#pragma once
// Shape, dtype and overlap checks of the operations of ops.h, one function per operation, shared by
// all back ends. A violation throws InternalError naming the operation, the tensor, what it is and
// what was expected. Activations may be given flattened ([T, hidden]) or not ([micro_batch, tokens,
// hidden]).
#include <span>

#include "kernels/common/precision.h"
#include "kernels/ops.h"

namespace seq1f1b::kernels {

void check_fill(const Tensor& output);
void check_copy(const Tensor& input, const Tensor& output);
void check_cast(const Precision&, const Tensor& input, const Tensor& output);
void check_accumulate(const Precision&, const Tensor& input, const Tensor& output);

void check_embedding_forward(const Precision&, const Tensor& tokens, const Tensor& weight,
                             const Tensor& position_weight, std::int64_t start,
                             const Tensor& output);
void check_embedding_backward(const Precision&, const Tensor& tokens, const Tensor& grad_output,
                              std::int64_t start, const Tensor& grad_weight,
                              const Tensor& grad_position_weight);

// Also norm_apply's.
void check_norm(const Precision&, NormKind kind, const Tensor& input, const Tensor& weight,
                const Tensor& bias, const Tensor& output, const Tensor& statistics);
void check_norm_backward(const Precision&, NormKind kind, const Tensor& grad_output,
                         const Tensor& input, const Tensor& statistics, const Tensor& weight,
                         const Tensor& grad_residual, const Tensor& grad_input,
                         const Tensor& grad_weight, const Tensor& grad_bias);

void check_linear_forward(const Precision&, const Tensor& input, const Tensor& weight,
                          const Tensor& bias, const Tensor& residual, const Tensor& output);
void check_linear_input_grad(const Precision&, const Tensor& grad_output, const Tensor& weight,
                             const Tensor& grad_input);
void check_linear_weight_grad(const Precision&, const Tensor& grad_output, const Tensor& input,
                              const Tensor& grad_weight, const Tensor& grad_bias);

void check_project_to_carry(const Precision&, const Tensor& projected, std::int64_t start,
                            const Rotary& rotary, const Tensor& query, const Tensor& key,
                            const Tensor& value);
void check_project_from_carry(const Precision&, const Tensor& grad_query, const Tensor& grad_key,
                              const Tensor& grad_value, std::int64_t start, const Rotary& rotary,
                              const Tensor& grad_projected);
void check_attention_forward(const Precision&, const Tensor& query, const Tensor& key,
                             const Tensor& value, const AttentionRange& range, const Tensor& output,
                             const Tensor& log_sum_exp);
void check_attention_backward(const Precision&, const Tensor& grad_output, const Tensor& query,
                              const Tensor& key, const Tensor& value, const Tensor& output,
                              const Tensor& log_sum_exp, const AttentionRange& range,
                              const Tensor& grad_query, const Tensor& grad_key,
                              const Tensor& grad_value);

void check_gelu_forward(const Precision&, const Tensor& input, const Tensor& output);
void check_gelu_backward(const Precision&, const Tensor& input, const Tensor& grad_output,
                         const Tensor& grad_input);
void check_swiglu_forward(const Precision&, const Tensor& gate_up, const Tensor& output);
void check_swiglu_backward(const Precision&, const Tensor& gate_up, const Tensor& grad_output,
                           const Tensor& grad_gate_up);

void check_cross_entropy(const Precision&, const Tensor& logits, const Tensor& labels,
                         const double* scale, bool write_gradient, const double* loss_sum);
// Each label must be negative or in [0, vocab). Host memory only.
void check_label_values(const Tensor& labels, std::int64_t vocab);
// Every index of `tokens` must be in [0, vocab). Host memory only.
void check_token_values(const char* operation, const Tensor& tokens, std::int64_t vocab);

void check_sum_of_squares(const Precision&, const Tensor& input, const double* result);
void check_finalize_grad_norm(const Tensor& squares, const double* loss_sum,
                              const AdamWParams* step);
void check_adamw(const Precision&, std::span<const AdamwTensor> tensors, const AdamWParams* step);

}  // namespace seq1f1b::kernels
