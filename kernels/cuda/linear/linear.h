#pragma once
// The matrix products of a linear layer, with the arguments of Ops (kernels/ops.h), which the
// caller has checked. Each is one product of the library where it can be, and else a product and a
// kernel of kernels.h behind it. Compute tensors are bf16 or fp32, gradients of weights fp32.
//
// A row's bits may depend on the number of rows of the call: the library chooses its algorithm by
// the shape.
#include "kernels/cuda/context.h"
#include "kernels/cuda/linear/gemm.h"
#include "kernels/cuda/linear/gemm_tuning.h"

namespace seq1f1b::kernels::cuda {

// One object per queue.
class Linear {
 public:
  explicit Linear(GemmTuning tuning) : tuning_(tuning) {}

  void forward(Context& context, const Tensor& input, const Tensor& weight, const Tensor& bias,
               const Tensor& residual, const Tensor& output);
  void input_grad(Context& context, const Tensor& grad_output, const Tensor& weight,
                  const Tensor& grad_input);
  void weight_grad(Context& context, const Tensor& grad_output, const Tensor& input,
                   const Tensor& grad_weight, const Tensor& grad_bias);
  void gelu_forward(Context& context, const Tensor& input, const Tensor& weight, const Tensor& bias,
                    const Tensor& pre_activation, const Tensor& output);
  void gelu_input_grad(Context& context, const Tensor& grad_output, const Tensor& weight,
                       const Tensor& pre_activation, const Tensor& grad_pre_activation);

 private:
  bool fuses_gelu(const Context& context, const GemmProblem& problem);

  Gemm gemm_;
  GemmTuning tuning_;
};

}  // namespace seq1f1b::kernels::cuda
