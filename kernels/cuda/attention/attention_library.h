#pragma once
// Attention by somebody else's kernels, in the place of attention.h's.
#include "kernels/cuda/context.h"
#include "kernels/ops.h"

namespace seq1f1b::kernels::cuda {

class AttentionLibrary {
 public:
  virtual ~AttentionLibrary() = default;
  // Before the first call of these shapes (Ops::prepare_attention).
  virtual void prepare(const Context& context, const Tensor& query, const Tensor& key,
                       const AttentionRange& range) = 0;
  // Ops::attention_forward and attention_backward.
  virtual void forward(Context& context, const Tensor& query, const Tensor& key,
                       const Tensor& value, const AttentionRange& range, double scale,
                       const Tensor& output, const Tensor& log_sum_exp) = 0;
  virtual void backward(Context& context, const Tensor& grad_output, const Tensor& query,
                        const Tensor& key, const Tensor& value, const Tensor& output,
                        const Tensor& log_sum_exp, const AttentionRange& range, double scale,
                        const Tensor& grad_query, const Tensor& grad_key, const Tensor& grad_value,
                        Accumulate mode) = 0;
};

}  // namespace seq1f1b::kernels::cuda
