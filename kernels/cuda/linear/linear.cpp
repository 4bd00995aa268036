#include "kernels/cuda/linear/linear.h"

#include "kernels/cuda/kernels.h"

namespace seq1f1b::kernels::cuda {
namespace {

std::int64_t columns(const Tensor& tensor) { return tensor.dim(tensor.rank - 1); }
std::int64_t rows(const Tensor& tensor) { return tensor.elements() / columns(tensor); }

// output[t, o] = sum_i input[t, i] * weight[o, i]
GemmProblem forward_problem(const Tensor& input, const Tensor& weight, const Tensor& output) {
  GemmProblem problem;
  problem.m = rows(input);
  problem.n = weight.dim(0);
  problem.k = weight.dim(1);
  problem.a = input.data;
  problem.b = weight.data;
  problem.transpose_b = true;
  problem.output = output.data;
  problem.input_dtype = problem.output_dtype = input.dtype;
  return problem;
}

// grad_input[t, i] = sum_o grad_output[t, o] * weight[o, i]
GemmProblem input_grad_problem(const Tensor& grad_output, const Tensor& weight,
                               const Tensor& grad_input) {
  GemmProblem problem;
  problem.m = rows(grad_output);
  problem.n = weight.dim(1);
  problem.k = weight.dim(0);
  problem.a = grad_output.data;
  problem.b = weight.data;
  problem.output = grad_input.data;
  problem.input_dtype = problem.output_dtype = grad_output.dtype;
  return problem;
}

}  // namespace

void Linear::forward(Context& context, const Tensor& input, const Tensor& weight,
                     const Tensor& bias, const Tensor& residual, const Tensor& output) {
  GemmProblem problem = forward_problem(input, weight, output);
  problem.addend = residual.data;
  if (bias) {
    problem.epilogue = Epilogue::kBias;
    problem.bias = bias.data;
  }
  gemm_.run(context, problem);
}

void Linear::input_grad(Context& context, const Tensor& grad_output, const Tensor& weight,
                        const Tensor& grad_input) {
  gemm_.run(context, input_grad_problem(grad_output, weight, grad_input));
}

// grad_weight[o, i] += sum_t grad_output[t, o] * input[t, i], adding in fp32 inside the product.
void Linear::weight_grad(Context& context, const Tensor& grad_output, const Tensor& input,
                         const Tensor& grad_weight, const Tensor& grad_bias) {
  GemmProblem problem;
  problem.m = grad_weight.dim(0);
  problem.n = grad_weight.dim(1);
  problem.k = rows(grad_output);
  problem.a = grad_output.data;
  problem.transpose_a = true;
  problem.b = input.data;
  problem.output = grad_weight.data;
  problem.addend = grad_weight.data;
  problem.input_dtype = input.dtype;
  problem.output_dtype = grad_weight.dtype;

  if (grad_bias && tuning_.bias_grad_in_epilogue) {
    auto* const sums = context.scratch.take<float>(static_cast<std::size_t>(problem.m));
    GemmProblem fused = problem;
    fused.epilogue = Epilogue::kBiasGrad;
    fused.bias = sums;
    if (gemm_.supports(context, fused)) {
      gemm_.run(context, fused);
      return cuda::accumulate(context, Tensor(sums, Dtype::kF32, {problem.m}), grad_bias);
    }
    context.scratch.reset();
  }
  gemm_.run(context, problem);
  if (grad_bias) {
    context.scratch.reset();  // the queue is in order: the product is done with its workspace
    cuda::bias_grad(context, grad_output, grad_bias);
  }
}

bool Linear::fuses_gelu(const Context& context, const GemmProblem& problem) {
  return tuning_.gelu_in_epilogue && problem.input_dtype == Dtype::kBf16 &&
         gemm_.supports(context, problem);
}

void Linear::gelu_forward(Context& context, const Tensor& input, const Tensor& weight,
                          const Tensor& bias, const Tensor& pre_activation, const Tensor& output) {
  GemmProblem fused = forward_problem(input, weight, output);
  fused.epilogue = Epilogue::kGeluAuxBias;
  fused.bias = bias.data;
  fused.aux = pre_activation.data;
  if (fuses_gelu(context, fused)) return gemm_.run(context, fused);
  forward(context, input, weight, bias, {}, pre_activation);
  context.scratch.reset();
  cuda::gelu_forward(context, pre_activation, output);
}

void Linear::gelu_input_grad(Context& context, const Tensor& grad_output, const Tensor& weight,
                             const Tensor& pre_activation, const Tensor& grad_pre_activation) {
  GemmProblem fused = input_grad_problem(grad_output, weight, grad_pre_activation);
  fused.epilogue = Epilogue::kDgelu;
  fused.aux = pre_activation.data;
  if (fuses_gelu(context, fused)) return gemm_.run(context, fused);
  input_grad(context, grad_output, weight, grad_pre_activation);
  context.scratch.reset();
  cuda::gelu_backward(context, pre_activation, grad_pre_activation, grad_pre_activation);
}

}  // namespace seq1f1b::kernels::cuda
