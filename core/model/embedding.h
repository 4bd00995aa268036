#pragma once
// Token embedding and, where the model has them, learned position embeddings.
#include "core/model/arena_layout.h"
#include "core/model/spec.h"
#include "core/parameters/store.h"
#include "kernels/ops.h"

namespace seq1f1b::model {

class Embedding {
 public:
  // Without a store the embedding can only be laid out.
  Embedding(const ModelSpec& spec, const parameters::Store* store);

  // tokens int32 [batch, tokens] -> output [T, hidden].
  void forward(kernels::Ops& ops, const SegmentShape& shape, const kernels::Tensor& tokens,
               const kernels::Tensor& output) const;
  // Adds to the gradients. grad_output [T, hidden].
  void weight_grad(kernels::Ops& ops, const SegmentShape& shape, const kernels::Tensor& tokens,
                   const kernels::Tensor& grad_output) const;

 private:
  std::int64_t hidden_;
  kernels::Tensor token_weight_, position_weight_, grad_token_weight_, grad_position_weight_;
};

}  // namespace seq1f1b::model
