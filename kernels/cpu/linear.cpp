#include "kernels/cpu/linear.h"

#include <cstdint>

#include "kernels/common/errors.h"

namespace seq1f1b::kernels::cpu {
namespace {

// The full checks are the back end's (kernels/common/shape_checks.h); these keep a wrong size from
// reaching a library.
void check(const Tensor& tensor, std::int64_t elements, const char* role) {
  SEQ1F1B_ASSERT(tensor && tensor.dtype == Dtype::kF32 && tensor.elements() == elements, role,
                 " is ", describe(tensor), ", expected ", elements, " elements of fp32");
}

std::int64_t last_dim(const Tensor& tensor) {
  SEQ1F1B_ASSERT(tensor && tensor.rank >= 1, "absent or without dimensions");
  return tensor.dim(tensor.rank - 1);
}

}  // namespace

void Linear::forward(const Tensor& input, const Tensor& weight, const Tensor& bias,
                     const Tensor& residual, const Tensor& output) {
  const std::int64_t in = last_dim(input), out = last_dim(output);
  const std::int64_t rows = input.elements() / in;
  check(input, rows * in, "input");
  check(weight, out * in, "weight");
  check(output, rows * out, "output");
  if (bias) check(bias, out, "bias");
  if (residual) check(residual, rows * out, "residual");
  products_->run({.kind = ProductKind::kForward,
                  .rows = rows,
                  .columns = out,
                  .depth = in,
                  .a = input.as<float>(),
                  .b = weight.as<float>(),
                  .bias = bias.as<float>(),
                  .residual = residual.as<float>(),
                  .c = output.as<float>()});
}

void Linear::input_grad(const Tensor& grad_output, const Tensor& weight, const Tensor& grad_input) {
  const std::int64_t out = last_dim(grad_output), in = last_dim(grad_input);
  const std::int64_t rows = grad_output.elements() / out;
  check(grad_output, rows * out, "grad_output");
  check(weight, out * in, "weight");
  check(grad_input, rows * in, "grad_input");
  products_->run({.kind = ProductKind::kInputGrad,
                  .rows = rows,
                  .columns = in,
                  .depth = out,
                  .a = grad_output.as<float>(),
                  .b = weight.as<float>(),
                  .c = grad_input.as<float>()});
}

void Linear::weight_grad(const Tensor& grad_output, const Tensor& input, const Tensor& grad_weight,
                         const Tensor& grad_bias) {
  const std::int64_t out = last_dim(grad_output), in = last_dim(input);
  const std::int64_t rows = input.elements() / in;
  check(grad_output, rows * out, "grad_output");
  check(input, rows * in, "input");
  check(grad_weight, out * in, "grad_weight");
  if (grad_bias) check(grad_bias, out, "grad_bias");
  products_->run({.kind = ProductKind::kWeightGrad,
                  .rows = out,
                  .columns = in,
                  .depth = rows,
                  .a = grad_output.as<float>(),
                  .b = input.as<float>(),
                  .residual = grad_weight.as<float>(),
                  .c = grad_weight.as<float>(),
                  .grad_bias = grad_bias.as<float>()});
}

}  // namespace seq1f1b::kernels::cpu
