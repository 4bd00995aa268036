#pragma once
// The three matrix products of a linear layer, with the semantics of Ops::linear_*
// (kernels/ops.h), through the library that products.h chooses.
#include <cstddef>
#include <memory>

#include "kernels/common/tensor.h"
#include "kernels/cpu/products.h"

namespace seq1f1b::kernels::cpu {

// One object per issuing thread; several objects may be used at once. A shape's first use may
// compile its products (about a millisecond) and grow the scratch. T is what compute tensors are
// stored in: float.
template <class T>
class Linear {
 public:
  Linear(int threads, Isa isa) : products_(make_products<T>(threads, isa)) {}

  // `bias` and `residual` may be absent; `residual` may be `output` itself.
  void forward(const Tensor& input, const Tensor& weight, const Tensor& bias,
               const Tensor& residual, const Tensor& output);
  void input_grad(const Tensor& grad_output, const Tensor& weight, const Tensor& grad_input);
  // Adds to grad_weight and, where present, to grad_bias.
  void weight_grad(const Tensor& grad_output, const Tensor& input, const Tensor& grad_weight,
                   const Tensor& grad_bias);

  std::size_t bytes() const { return products_->bytes(); }  // Products::bytes

 private:
  std::unique_ptr<Products<T>> products_;
};

}  // namespace seq1f1b::kernels::cpu
