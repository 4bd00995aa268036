#include "core/model/embedding.h"

namespace seq1f1b::model {

using kernels::Tensor;

Embedding::Embedding(const ModelSpec& spec, const parameters::Store* store) : hidden_(spec.hidden) {
  if (!store) return;
  const bool training = store->purpose() == parameters::Purpose::kTraining;
  const auto bind = [&](const char* name, Tensor& weight, Tensor& gradient) {
    const auto& row = store->layout().find(name);
    weight = store->weight(row);
    if (training) gradient = store->gradient(row);
  };
  bind("embedding.token.weight", token_weight_, grad_token_weight_);
  if (spec.positions > 0)
    bind("embedding.position.weight", position_weight_, grad_position_weight_);
}

void Embedding::forward(kernels::Ops& ops, const SegmentShape& shape, const Tensor& tokens,
                        const Tensor& output) const {
  ops.embedding_forward(tokens, token_weight_, position_weight_, shape.start,
                        output.reshaped({shape.batch_size, shape.tokens, hidden_}));
}

void Embedding::weight_grad(kernels::Ops& ops, const SegmentShape& shape, const Tensor& tokens,
                            const Tensor& grad_output) const {
  ops.embedding_backward(tokens, grad_output.reshaped({shape.batch_size, shape.tokens, hidden_}),
                         shape.start, grad_token_weight_, grad_position_weight_);
}

}  // namespace seq1f1b::model
