#pragma once
// The three matrix products of a linear layer, in fp32 through oneDNN, with the semantics of
// Ops::linear_* (kernels/ops.h).
//
// The output is cut into blocks whose sizes depend on the shape alone; every block is one product
// that the library blocked for a single thread, and our threads share the blocks. So `threads`
// changes no bit.
#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "kernels/common/tensor.h"

namespace seq1f1b::kernels::cpu {

// One object per issuing thread; several objects may be used at once. A shape's first use compiles
// its products (about a millisecond) and may grow the scratch; later uses of it allocate no
// scratch.
class Linear {
 public:
  explicit Linear(int threads);
  ~Linear();
  Linear(const Linear&) = delete;
  Linear& operator=(const Linear&) = delete;

  // `bias` and `residual` may be absent; `residual` may be `output` itself.
  void forward(const Tensor& input, const Tensor& weight, const Tensor& bias,
               const Tensor& residual, const Tensor& output);
  void input_grad(const Tensor& grad_output, const Tensor& weight, const Tensor& grad_input);
  // Adds to grad_weight and, where present, to grad_bias.
  void weight_grad(const Tensor& grad_output, const Tensor& input, const Tensor& grad_weight,
                   const Tensor& grad_bias);

  // Scratch held now. The library's generated code is not known to us.
  std::size_t bytes() const;

 private:
  enum class Product : std::int64_t { kForward, kInputGrad, kWeightGrad };
  // (product, rows, columns, depth, has bias, adds to the output)
  using Key = std::array<std::int64_t, 6>;
  struct Plan;
  struct Call;

  Plan& plan(Product product, std::int64_t rows, std::int64_t columns, std::int64_t depth,
             bool bias, bool add);
  void run(const Plan& plan, const Call& call);
  // Of a product with one row per token; call.residual may be call.c.
  void run_rows(Product product, std::int64_t rows, std::int64_t columns, std::int64_t depth,
                Call call);

  int threads_;
  std::map<Key, std::unique_ptr<Plan>> plans_;
  std::size_t scratch_bytes_ = 0;  // per thread
  std::unique_ptr<std::byte[]> scratch_;
};

}  // namespace seq1f1b::kernels::cpu
