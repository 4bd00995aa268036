#pragma once
// The operations of ops.h in plain C++, one class per family and one source file per class. C is
// the compute and A the accumulate type: (double, double), (float, float) or (Bf16, float).
// Operands are converted to A, sums and formulas run in A, and a result is rounded to C once, where
// it is written. Arguments are checked by the caller.
//
// These loops are the truth that other back ends are compared with: clear before fast, one thread,
// sums in the order that the function's comment states. Nothing of tokens x keys elements is ever
// stored.
#include "kernels/common/bf16.h"
#include "kernels/ops.h"

namespace seq1f1b::kernels::reference {

template <class C, class A>
struct Movement {
  static void fill(const Tensor& output, double value);
  static void copy(const Tensor& input, const Tensor& output);
  static void cast(const Tensor& input, const Tensor& output);
  static void accumulate(const Tensor& input, const Tensor& output);
};

// The backward adds row after row, in order.
template <class C, class A>
struct Embedding {
  static void forward(const Tensor& tokens, const Tensor& weight, const Tensor& position_weight,
                      std::int64_t start, const Tensor& output);
  static void backward(const Tensor& tokens, const Tensor& grad_output, std::int64_t start,
                       const Tensor& grad_weight, const Tensor& grad_position_weight);
};

// Sums over a row run left to right; weight gradients add row after row.
template <class C, class A>
struct Norm {
  static void forward(NormKind kind, const Tensor& input, const Tensor& weight, const Tensor& bias,
                      double epsilon, const Tensor& output, const Tensor& statistics);
  static void apply(NormKind kind, const Tensor& input, const Tensor& statistics,
                    const Tensor& weight, const Tensor& bias, const Tensor& output);
  static void backward(NormKind kind, const Tensor& grad_output, const Tensor& input,
                       const Tensor& statistics, const Tensor& weight, const Tensor& grad_residual,
                       const Tensor& grad_input, const Tensor& grad_weight,
                       const Tensor& grad_bias);
};

// forward sums by dot() of dot.h; input_grad over outputs in order; weight_grad row after row.
template <class C, class A>
struct Linear {
  static void forward(const Tensor& input, const Tensor& weight, const Tensor& bias,
                      const Tensor& residual, const Tensor& output);
  static void input_grad(const Tensor& grad_output, const Tensor& weight, const Tensor& grad_input);
  static void weight_grad(const Tensor& grad_output, const Tensor& input, const Tensor& grad_weight,
                          const Tensor& grad_bias);
};

template <class C, class A>
struct Carry {
  static void project_to(const Tensor& projected, std::int64_t start, const Rotary& rotary,
                         const Tensor& query, const Tensor& key, const Tensor& value);
  static void project_from(const Tensor& grad_query, const Tensor& grad_key,
                           const Tensor& grad_value, std::int64_t start, const Rotary& rotary,
                           const Tensor& grad_projected);
};

// Sums over keys run in key order; gradients of keys and values add query row after query row, the
// heads of a group in order. A row's result does not depend on which segment the row came in.
template <class C, class A>
struct Attention {
  static void forward(const Tensor& query, const Tensor& key, const Tensor& value,
                      const AttentionRange& range, double scale, const Tensor& output,
                      const Tensor& log_sum_exp);
  static void backward(const Tensor& grad_output, const Tensor& query, const Tensor& key,
                       const Tensor& value, const Tensor& output, const Tensor& log_sum_exp,
                       const AttentionRange& range, double scale, const Tensor& grad_query,
                       const Tensor& grad_key, const Tensor& grad_value, Accumulate mode);
};

template <class C, class A>
struct Activation {
  static void gelu_forward(const Tensor& input, const Tensor& output);
  static void gelu_backward(const Tensor& input, const Tensor& grad_output,
                            const Tensor& grad_input);
  static void swiglu_forward(const Tensor& gate_up, const Tensor& output);
  static void swiglu_backward(const Tensor& gate_up, const Tensor& grad_output,
                              const Tensor& grad_gate_up);
};

// Sums over the vocabulary run left to right.
template <class C, class A>
struct CrossEntropy {
  static void run(const Tensor& logits, const Tensor& labels, const double* scale,
                  bool write_gradient, double* loss_sum);
};

// Squares are summed left to right.
template <class C, class A>
struct Optimizer {
  static void sum_of_squares(const Tensor& input, double* result);
  static void adamw(std::span<const AdamwTensor> tensors, const AdamWParams& step);
};

}  // namespace seq1f1b::kernels::reference
