#include "kernels/cpu/linear.h"

#include <cstdint>

#include "kernels/common/errors.h"
#include "kernels/cpu/dtype.h"

namespace seq1f1b::kernels::cpu {
namespace {

// The full checks are the back end's (kernels/common/shape_checks.h); these keep a wrong size from
// reaching a library.
template <class T>
void check(const Tensor& tensor, std::int64_t elements, const char* role) {
  SEQ1F1B_ASSERT(tensor && tensor.dtype == kDtypeOf<T> && tensor.elements() == elements, role,
                 " is ", describe(tensor), ", expected ", elements, " elements of ",
                 dtype_name(kDtypeOf<T>));
}

std::int64_t last_dim(const Tensor& tensor) {
  SEQ1F1B_ASSERT(tensor && tensor.rank >= 1, "absent or without dimensions");
  return tensor.dim(tensor.rank - 1);
}

}  // namespace

template <class T>
void Linear<T>::forward(const Tensor& input, const Tensor& weight, const Tensor& bias,
                        const Tensor& residual, const Tensor& output) {
  const std::int64_t in = last_dim(input), out = last_dim(output);
  const std::int64_t rows = input.elements() / in;
  check<T>(input, rows * in, "input");
  check<T>(weight, out * in, "weight");
  check<T>(output, rows * out, "output");
  if (bias) check<T>(bias, out, "bias");
  if (residual) check<T>(residual, rows * out, "residual");
  products_->run({.kind = ProductKind::kForward,
                  .rows = rows,
                  .columns = out,
                  .depth = in,
                  .a = input.as<T>(),
                  .b = weight.as<T>(),
                  .bias = bias.as<T>(),
                  .residual = residual.as<T>(),
                  .c = output.as<T>()});
}

template <class T>
void Linear<T>::input_grad(const Tensor& grad_output, const Tensor& weight,
                           const Tensor& grad_input) {
  const std::int64_t out = last_dim(grad_output), in = last_dim(grad_input);
  const std::int64_t rows = grad_output.elements() / out;
  check<T>(grad_output, rows * out, "grad_output");
  check<T>(weight, out * in, "weight");
  check<T>(grad_input, rows * in, "grad_input");
  products_->run({.kind = ProductKind::kInputGrad,
                  .rows = rows,
                  .columns = in,
                  .depth = out,
                  .a = grad_output.as<T>(),
                  .b = weight.as<T>(),
                  .c = grad_input.as<T>()});
}

template <class T>
void Linear<T>::weight_grad(const Tensor& grad_output, const Tensor& input,
                            const Tensor& grad_weight, const Tensor& grad_bias) {
  const std::int64_t out = last_dim(grad_output), in = last_dim(input);
  const std::int64_t rows = input.elements() / in;
  check<T>(grad_output, rows * out, "grad_output");
  check<T>(input, rows * in, "input");
  check<float>(grad_weight, out * in, "grad_weight");
  if (grad_bias) check<float>(grad_bias, out, "grad_bias");
  products_->run_weight_grad({.kind = ProductKind::kWeightGrad,
                              .rows = out,
                              .columns = in,
                              .depth = rows,
                              .a = grad_output.as<T>(),
                              .b = input.as<T>(),
                              .residual = grad_weight.as<float>(),
                              .c = grad_weight.as<float>(),
                              .grad_bias = grad_bias.as<float>()});
}

template class Linear<float>;

}  // namespace seq1f1b::kernels::cpu
