#pragma once
// The fp32 operations of this back end but for linear.h and attention.h, one source file per
// family, with the arguments of Ops. Arguments are checked by the caller. Each function says how it
// shares its work; the shares never depend on the number of threads, so neither do the bits.
#include "kernels/cpu/context.h"
#include "kernels/ops.h"

namespace seq1f1b::kernels::cpu {

// movement.cpp, by ranges of elements
void fill(const Context& context, const Tensor& output, double value);
void copy(const Context& context, const Tensor& input, const Tensor& output);
void accumulate(const Context& context, const Tensor& input, const Tensor& output);

// embedding.cpp, forward by rows, backward by stripes of columns: rows add to the same line of the
// table, in row order
void embedding_forward(const Context& context, const Tensor& tokens, const Tensor& weight,
                       const Tensor& position_weight, std::int64_t start, const Tensor& output);
void embedding_backward(const Context& context, const Tensor& tokens, const Tensor& grad_output,
                        std::int64_t start, const Tensor& grad_weight,
                        const Tensor& grad_position_weight);

// norm.cpp, by rows; weight gradients by blocks of rows whose partial sums are added in block order
void norm_forward(const Context& context, NormKind kind, const Tensor& input, const Tensor& weight,
                  const Tensor& bias, double epsilon, const Tensor& output,
                  const Tensor& statistics);
void norm_apply(const Context& context, const Tensor& input, const Tensor& statistics,
                const Tensor& weight, const Tensor& bias, const Tensor& output);
void norm_backward(Context& context, NormKind kind, const Tensor& grad_output, const Tensor& input,
                   const Tensor& statistics, const Tensor& weight, const Tensor& grad_residual,
                   const Tensor& grad_input, const Tensor& grad_weight, const Tensor& grad_bias);

// carry.cpp, by rows
void split_qkv_rope(Context& context, const Tensor& projected, std::int64_t start,
                    const Rotary& rotary, const Tensor& query, const Tensor& key,
                    const Tensor& value);
void split_qkv_rope_backward(Context& context, const Tensor& grad_query, const Tensor& grad_key,
                             const Tensor& grad_value, std::int64_t start, const Rotary& rotary,
                             const Tensor& grad_projected);

// activation.cpp, by ranges of elements or by rows
void gelu_forward(const Context& context, const Tensor& input, const Tensor& output);
void gelu_backward(const Context& context, const Tensor& input, const Tensor& grad_output,
                   const Tensor& grad_input);
void swiglu_forward(const Context& context, const Tensor& gate_up, const Tensor& output);
void swiglu_backward(const Context& context, const Tensor& gate_up, const Tensor& grad_output,
                     const Tensor& grad_gate_up);

// cross_entropy.cpp, by rows; their losses are added in row order
void cross_entropy(Context& context, const Tensor& logits, const Tensor& labels,
                   const double* scale, bool write_gradient, double* loss_sum);

// optimizer.cpp, by ranges of elements whose sums of squares are added in order
void sum_of_squares(Context& context, const Tensor& input, double* result);
void adamw(const Context& context, std::span<const AdamwTensor> tensors, const AdamWParams& step);

}  // namespace seq1f1b::kernels::cpu
