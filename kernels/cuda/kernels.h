#pragma once
// Launchers of this back end's own kernels but attention's (attention.h), one source file per
// family, with the arguments of Ops. Arguments are checked by the caller; compute tensors are bf16
// or fp32, accumulate tensors fp32. All work goes to context.stream; nothing waits. Each function
// says how its work is shared; sums run in an order that depends on shapes alone.
#include "kernels/cuda/context.h"
#include "kernels/ops.h"

namespace seq1f1b::kernels::cuda {

// movement.cu, by ranges of elements
void fill(Context& context, const Tensor& output, double value);
void copy(Context& context, const Tensor& input, const Tensor& output);
void cast(Context& context, const Tensor& input, const Tensor& output);
void accumulate(Context& context, const Tensor& input, const Tensor& output);

// embedding.cu, forward by rows; backward without atomics: whoever holds a token's first row of the
// call adds all its rows, in row order
void embedding_forward(Context& context, const Tensor& tokens, const Tensor& weight,
                       const Tensor& position_weight, std::int64_t start, const Tensor& output);
void embedding_backward(Context& context, const Tensor& tokens, const Tensor& grad_output,
                        std::int64_t start, const Tensor& grad_weight,
                        const Tensor& grad_position_weight);

// norm.cu, by rows; weight gradients by blocks of rows whose partial sums are added in block order
void norm_forward(Context& context, NormKind kind, const Tensor& input, const Tensor& weight,
                  const Tensor& bias, double epsilon, const Tensor& output,
                  const Tensor& statistics);
void norm_apply(Context& context, NormKind kind, const Tensor& input, const Tensor& statistics,
                const Tensor& weight, const Tensor& bias, const Tensor& output);
void norm_backward(Context& context, NormKind kind, const Tensor& grad_output, const Tensor& input,
                   const Tensor& statistics, const Tensor& weight, const Tensor& grad_residual,
                   const Tensor& grad_input, const Tensor& grad_weight, const Tensor& grad_bias);

// bias.cu: grad_bias[o] += sum over t of grad_output[t, o], where no epilogue serves
void bias_grad(Context& context, const Tensor& grad_output, const Tensor& grad_bias);

// carry.cu, by rows
void split_qkv_rope(Context& context, const Tensor& projected, std::int64_t start,
                    const Rotary& rotary, const Tensor& query, const Tensor& key,
                    const Tensor& value);
void split_qkv_rope_backward(Context& context, const Tensor& grad_query, const Tensor& grad_key,
                             const Tensor& grad_value, std::int64_t start, const Rotary& rotary,
                             const Tensor& grad_projected);

// activation.cu, by ranges of elements or by rows
void gelu_forward(Context& context, const Tensor& input, const Tensor& output);
void gelu_backward(Context& context, const Tensor& input, const Tensor& grad_output,
                   const Tensor& grad_input);
void swiglu_forward(Context& context, const Tensor& gate_up, const Tensor& output);
void swiglu_backward(Context& context, const Tensor& gate_up, const Tensor& grad_output,
                     const Tensor& grad_gate_up);

// cross_entropy.cu, by rows, whose losses are added by one block in a fixed order
void cross_entropy(Context& context, const Tensor& logits, const Tensor& labels,
                   const double* scale, bool write_gradient, double* loss_sum);

// optimizer.cu, by ranges of elements; adamw in one launch per 64 tensors of a call
void sum_of_squares(Context& context, const Tensor& input, double* result);
void finalize_grad_norm(Context& context, const Tensor& squares, const double* loss_sum,
                        double clip_norm, AdamWParams* step);
void adamw(Context& context, std::span<const AdamwTensor> tensors, const AdamWParams* step);

}  // namespace seq1f1b::kernels::cuda
