#include "core/model/head.h"

#include <algorithm>

#include "kernels/common/errors.h"

namespace seq1f1b::model {

using kernels::Tensor;

namespace {

Tensor rows_of(const Tensor& tensor, std::int64_t first, std::int64_t count) {
  const std::int64_t width = tensor.rank == 2 ? tensor.dim(1) : 1;
  auto* data = static_cast<std::byte*>(tensor.data) +
               static_cast<std::size_t>(first * width) * kernels::dtype_bytes(tensor.dtype);
  return tensor.rank == 2 ? Tensor(data, tensor.dtype, {count, width})
                          : Tensor(data, tensor.dtype, {count});
}

}  // namespace

Head::Head(const ModelSpec& spec, Precision precision, const parameters::Store* store)
    : spec_(spec), precision_(precision) {
  if (!store) return;
  const auto& layout = store->layout();
  const auto& matrix = layout.find(spec.tied ? "embedding.token.weight" : "head.weight");
  const auto use = std::find(matrix.uses.begin(), matrix.uses.end(),
                             parameters::Use{parameters::Site::kHead, 0});
  SEQ1F1B_ASSERT(use != matrix.uses.end(), "the head's matrix is not on this rank");
  weight_ = store->weight(matrix);
  norm_weight_ = store->weight(layout.find("final_norm.weight"));
  if (spec.norm_bias()) norm_bias_ = store->weight(layout.find("final_norm.bias"));
  if (store->purpose() != parameters::Purpose::kTraining) return;
  grad_weight_ = store->gradient(matrix, static_cast<std::size_t>(use - matrix.uses.begin()));
  grad_norm_weight_ = store->gradient(layout.find("final_norm.weight"));
  if (spec.norm_bias()) grad_norm_bias_ = store->gradient(layout.find("final_norm.bias"));
}

Head::Scratch Head::lay_out(ArenaLayout& arena, std::int64_t rows, bool with_gradient) const {
  const std::int64_t chunk = logit_rows(spec_, rows);
  Scratch scratch;
  scratch.normed = arena.take(precision_.compute, {chunk, spec_.hidden});
  scratch.statistics = arena.take(precision_.accumulate, {chunk, 2});
  scratch.logits = arena.take(precision_.compute, {chunk, spec_.vocab});
  if (with_gradient) scratch.grad_normed = arena.take(precision_.compute, {chunk, spec_.hidden});
  return scratch;
}

std::size_t Head::backward_workspace_bytes(std::int64_t rows) const {
  ArenaLayout arena;
  lay_out(arena, rows, true);
  return arena.used();
}
std::size_t Head::evaluate_workspace_bytes(std::int64_t rows) const {
  ArenaLayout arena;
  lay_out(arena, rows, false);
  return arena.used();
}

void Head::backward(kernels::Ops& ops, const Tensor& hidden, const LossInput& loss,
                    const Tensor& grad_hidden, std::byte* workspace) const {
  ArenaLayout arena(workspace);
  const std::int64_t rows = hidden.dim(0), chunk = logit_rows(spec_, rows);
  const Scratch scratch = lay_out(arena, rows, true);
  for (std::int64_t first = 0; first < rows; first += chunk) {
    const std::int64_t count = std::min(chunk, rows - first);
    const Tensor part = rows_of(hidden, first, count);
    const Tensor normed = rows_of(scratch.normed, 0, count);
    const Tensor statistics = rows_of(scratch.statistics, 0, count);
    const Tensor logits = rows_of(scratch.logits, 0, count);
    const Tensor grad_normed = rows_of(scratch.grad_normed, 0, count);
    ops.norm_forward(spec_.norm, part, norm_weight_, norm_bias_, spec_.norm_epsilon, normed,
                     statistics);
    ops.linear_forward(normed, weight_, {}, {}, logits);
    ops.cross_entropy(logits, rows_of(loss.labels, first, count), loss.loss_scale, true,
                      loss.loss_sum);
    ops.linear_weight_grad(logits, normed, grad_weight_, {});
    ops.linear_input_grad(logits, weight_, grad_normed);
    ops.norm_backward(spec_.norm, grad_normed, part, statistics, norm_weight_, {},
                      rows_of(grad_hidden, first, count), grad_norm_weight_, grad_norm_bias_);
  }
}

void Head::evaluate(kernels::Ops& ops, const Tensor& hidden, const LossInput& loss,
                    std::byte* workspace) const {
  ArenaLayout arena(workspace);
  const std::int64_t rows = hidden.dim(0), chunk = logit_rows(spec_, rows);
  const Scratch scratch = lay_out(arena, rows, false);
  for (std::int64_t first = 0; first < rows; first += chunk) {
    const std::int64_t count = std::min(chunk, rows - first);
    const Tensor normed = rows_of(scratch.normed, 0, count);
    const Tensor logits = rows_of(scratch.logits, 0, count);
    ops.norm_forward(spec_.norm, rows_of(hidden, first, count), norm_weight_, norm_bias_,
                     spec_.norm_epsilon, normed, rows_of(scratch.statistics, 0, count));
    ops.linear_forward(normed, weight_, {}, {}, logits);
    ops.cross_entropy(logits, rows_of(loss.labels, first, count), loss.loss_scale, false,
                      loss.loss_sum);
  }
}

void Head::logits(kernels::Ops& ops, const Tensor& hidden, const Tensor& logits,
                  std::byte* workspace) const {
  ArenaLayout arena(workspace);
  const std::int64_t rows = hidden.dim(0);
  SEQ1F1B_ASSERT(rows == logit_rows(spec_, rows), "too many rows of logits at once: ", rows);
  const Scratch scratch = lay_out(arena, rows, false);
  ops.norm_forward(spec_.norm, hidden, norm_weight_, norm_bias_, spec_.norm_epsilon, scratch.normed,
                   scratch.statistics);
  ops.linear_forward(scratch.normed, weight_, {}, {}, logits);
}

}  // namespace seq1f1b::model
