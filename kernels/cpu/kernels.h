#pragma once
// The operations of this back end but for linear.h and attention.h, one source file per family,
// with the arguments of Ops. T is what compute tensors are stored in; arithmetic and accumulate
// tensors are fp32. Each source file instantiates its family for float. Arguments are checked by
// the caller. Each function says how it shares its work; the shares never depend on the number of
// threads, so neither do the bits.
#include "kernels/cpu/context.h"
#include "kernels/ops.h"

namespace seq1f1b::kernels::cpu {

// movement.cpp, by ranges of elements
template <class T>
void fill(const Context<T>& context, const Tensor& output, double value);
template <class T>
void copy(const Context<T>& context, const Tensor& input, const Tensor& output);
template <class T>
void cast(const Context<T>& context, const Tensor& input, const Tensor& output);
template <class T>
void accumulate(const Context<T>& context, const Tensor& input, const Tensor& output);

// embedding.cpp, forward by rows, backward by stripes of columns: rows add to the same line of the
// table, in row order
template <class T>
void embedding_forward(const Context<T>& context, const Tensor& tokens, const Tensor& weight,
                       const Tensor& position_weight, std::int64_t start, const Tensor& output);
template <class T>
void embedding_backward(const Context<T>& context, const Tensor& tokens, const Tensor& grad_output,
                        std::int64_t start, const Tensor& grad_weight,
                        const Tensor& grad_position_weight);

// norm.cpp, by rows; weight gradients by blocks of rows whose partial sums are added in block order
template <class T>
void norm_forward(const Context<T>& context, NormKind kind, const Tensor& input,
                  const Tensor& weight, const Tensor& bias, double epsilon, const Tensor& output,
                  const Tensor& statistics);
template <class T>
void norm_apply(const Context<T>& context, const Tensor& input, const Tensor& statistics,
                const Tensor& weight, const Tensor& bias, const Tensor& output);
template <class T>
void norm_backward(Context<T>& context, NormKind kind, const Tensor& grad_output,
                   const Tensor& input, const Tensor& statistics, const Tensor& weight,
                   const Tensor& grad_residual, const Tensor& grad_input, const Tensor& grad_weight,
                   const Tensor& grad_bias);

// carry.cpp, by rows
template <class T>
void split_qkv_rope(Context<T>& context, const Tensor& projected, std::int64_t start,
                    const Rotary& rotary, const Tensor& query, const Tensor& key,
                    const Tensor& value);
template <class T>
void split_qkv_rope_backward(Context<T>& context, const Tensor& grad_query, const Tensor& grad_key,
                             const Tensor& grad_value, std::int64_t start, const Rotary& rotary,
                             const Tensor& grad_projected);

// activation.cpp, by ranges of elements or by rows
template <class T>
void gelu_forward(const Context<T>& context, const Tensor& input, const Tensor& output);
template <class T>
void gelu_backward(const Context<T>& context, const Tensor& input, const Tensor& grad_output,
                   const Tensor& grad_input);
template <class T>
void swiglu_forward(const Context<T>& context, const Tensor& gate_up, const Tensor& output);
template <class T>
void swiglu_backward(const Context<T>& context, const Tensor& gate_up, const Tensor& grad_output,
                     const Tensor& grad_gate_up);

// cross_entropy.cpp, by rows; their losses are added in row order
template <class T>
void cross_entropy(Context<T>& context, const Tensor& logits, const Tensor& labels,
                   const double* scale, bool write_gradient, double* loss_sum);

// optimizer.cpp, by ranges of elements whose sums of squares are added in order
template <class T>
void sum_of_squares(Context<T>& context, const Tensor& input, double* result);
template <class T>
void adamw(const Context<T>& context, std::span<const AdamwTensor> tensors,
           const AdamWParams& step);

}  // namespace seq1f1b::kernels::cpu
