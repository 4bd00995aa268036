#include "core/model/block.h"

#include <string>

namespace seq1f1b::model {

using kernels::Tensor;
using parameters::Store;

namespace {

// `select` picks the weight or the gradient of a (fused) operand of the store.
template <class Select>
BlockParameters bind(const ModelSpec& spec, int index, const Select& select) {
  const std::string prefix = "layers." + std::to_string(index) + ".";
  const auto linear = [&](const std::string& first, int rows, Tensor& weight, Tensor& bias) {
    weight = select(prefix + first + ".weight", rows);
    if (spec.bias) bias = select(prefix + first + ".bias", rows);
  };
  const auto norm = [&](const std::string& name, Tensor& weight, Tensor& bias) {
    weight = select(prefix + name + ".weight", 1);
    if (spec.norm_bias()) bias = select(prefix + name + ".bias", 1);
  };
  const bool gated = spec.activation == Activation::kSwiglu;
  BlockParameters bound;
  norm("norm1", bound.norm1_weight, bound.norm1_bias);
  linear("attention.query", 3, bound.qkv_weight, bound.qkv_bias);
  linear("attention.output", 1, bound.output_weight, bound.output_bias);
  norm("norm2", bound.norm2_weight, bound.norm2_bias);
  linear(gated ? "ffn.gate" : "ffn.up", gated ? 2 : 1, bound.up_weight, bound.up_bias);
  linear("ffn.down", 1, bound.down_weight, bound.down_bias);
  return bound;
}

}  // namespace

Block::Block(const ModelSpec& spec, Precision precision, int index, const Store* store)
    : spec_(spec), precision_(precision), mixer_(make_attention(spec, precision)) {
  if (!store) return;
  weights_ = bind(spec, index, [&](const std::string& name, int rows) {
    return store->fused_weight(name, rows);
  });
  if (store->purpose() == parameters::Purpose::kTraining)
    gradients_ = bind(spec, index, [&](const std::string& name, int rows) {
      return store->fused_gradient(name, rows);
    });
}

BlockSaved Block::lay_out_saved(ArenaLayout& kept, ArenaLayout& backward_only,
                                const SegmentShape& shape) const {
  const std::int64_t rows = shape.rows();
  BlockSaved saved;
  saved.input = kept.take(precision_.compute, {rows, spec_.hidden});
  saved.statistics1 = kept.take(precision_.accumulate, {rows, 2});
  saved.mixed = kept.take(precision_.compute, {rows, spec_.query_width()});
  saved.mid = kept.take(precision_.compute, {rows, spec_.hidden});
  saved.statistics2 = kept.take(precision_.accumulate, {rows, 2});
  saved.ffn_in = kept.take(precision_.compute, {rows, spec_.ffn_in_width()});
  saved.mixer = backward_only.take_bytes(mixer_->saved_bytes(shape));
  return saved;
}

BlockStash Block::lay_out_stash(ArenaLayout& arena, const SegmentShape& shape) const {
  const std::int64_t rows = shape.rows();
  BlockStash stash;
  stash.grad_output = arena.take(precision_.compute, {rows, spec_.hidden});
  stash.grad_ffn_in = arena.take(precision_.compute, {rows, spec_.ffn_in_width()});
  stash.grad_mid = arena.take(precision_.compute, {rows, spec_.hidden});
  stash.grad_projected = arena.take(precision_.compute, {rows, spec_.projected_width()});
  return stash;
}

Block::ForwardScratch Block::lay_out_forward(ArenaLayout& arena, const SegmentShape& shape) const {
  const std::int64_t rows = shape.rows();
  ForwardScratch scratch;
  scratch.normed = arena.take(precision_.compute, {rows, spec_.hidden});
  // The projection is read before the activation is written: they share their place.
  ArenaLayout other = arena;
  scratch.projected = arena.take(precision_.compute, {rows, spec_.projected_width()});
  scratch.activated = other.take(precision_.compute, {rows, spec_.ffn});
  arena.extend_to(other);
  return scratch;
}

Block::InputGradScratch Block::lay_out_input_grad(ArenaLayout& arena,
                                                  const SegmentShape& shape) const {
  const std::int64_t rows = shape.rows();
  InputGradScratch scratch;
  scratch.grad_normed = arena.take(precision_.compute, {rows, spec_.hidden});
  ArenaLayout other = arena;  // the feed-forward half is done when the mixer half begins
  if (spec_.activation == Activation::kSwiglu)
    scratch.grad_activated = other.take(precision_.compute, {rows, spec_.ffn});
  scratch.grad_mixed = arena.take(precision_.compute, {rows, spec_.query_width()});
  scratch.mixer = arena.take_bytes(mixer_->workspace_bytes(shape));
  arena.extend_to(other);
  return scratch;
}

Block::WeightGradScratch Block::lay_out_weight_grad(ArenaLayout& arena,
                                                    const SegmentShape& shape) const {
  const std::int64_t rows = shape.rows();
  ArenaLayout other = arena;  // the activation is used up before the norms are recomputed
  WeightGradScratch scratch;
  scratch.activated = arena.take(precision_.compute, {rows, spec_.ffn});
  scratch.normed = other.take(precision_.compute, {rows, spec_.hidden});
  arena.extend_to(other);
  return scratch;
}

std::size_t Block::forward_workspace_bytes(const SegmentShape& shape) const {
  ArenaLayout arena;
  lay_out_forward(arena, shape);
  return arena.used();
}
std::size_t Block::input_grad_workspace_bytes(const SegmentShape& shape) const {
  ArenaLayout arena;
  lay_out_input_grad(arena, shape);
  return arena.used();
}
std::size_t Block::weight_grad_workspace_bytes(const SegmentShape& shape) const {
  ArenaLayout arena;
  lay_out_weight_grad(arena, shape);
  return arena.used();
}

void Block::activate(kernels::Ops& ops, const Tensor& ffn_in, const Tensor& activated) const {
  if (spec_.activation == Activation::kSwiglu)
    ops.swiglu_forward(ffn_in, activated);
  else
    ops.gelu_forward(ffn_in, activated);
}

void Block::forward(kernels::Ops& ops, const SegmentShape& shape, const BlockSaved& saved,
                    std::byte* carry, const Tensor& output, std::byte* workspace) const {
  ArenaLayout arena(workspace);
  const ForwardScratch scratch = lay_out_forward(arena, shape);

  ops.norm_forward(spec_.norm, saved.input, weights_.norm1_weight, weights_.norm1_bias,
                   spec_.norm_epsilon, scratch.normed, saved.statistics1);
  ops.linear_forward(scratch.normed, weights_.qkv_weight, weights_.qkv_bias, {}, scratch.projected);
  mixer_->forward(ops, shape, scratch.projected, saved.mixed,
                  {.saved = saved.mixer, .carry = carry});
  ops.linear_forward(saved.mixed, weights_.output_weight, weights_.output_bias, saved.input,
                     saved.mid);

  ops.norm_forward(spec_.norm, saved.mid, weights_.norm2_weight, weights_.norm2_bias,
                   spec_.norm_epsilon, scratch.normed, saved.statistics2);
  if (spec_.activation == Activation::kGelu) {
    ops.linear_gelu_forward(scratch.normed, weights_.up_weight, weights_.up_bias, saved.ffn_in,
                            scratch.activated);
  } else {
    ops.linear_forward(scratch.normed, weights_.up_weight, weights_.up_bias, {}, saved.ffn_in);
    activate(ops, saved.ffn_in, scratch.activated);
  }
  ops.linear_forward(scratch.activated, weights_.down_weight, weights_.down_bias, saved.mid,
                     output);
}

void Block::input_grad(kernels::Ops& ops, const SegmentShape& shape, bool first,
                       const BlockSaved& saved, std::byte* carry, std::byte* carry_gradient,
                       const BlockStash& stash, const Tensor& grad_input,
                       std::byte* workspace) const {
  ArenaLayout arena(workspace);
  const InputGradScratch scratch = lay_out_input_grad(arena, shape);

  if (spec_.activation == Activation::kGelu) {
    ops.linear_gelu_input_grad(stash.grad_output, weights_.down_weight, saved.ffn_in,
                               stash.grad_ffn_in);
  } else {
    ops.linear_input_grad(stash.grad_output, weights_.down_weight, scratch.grad_activated);
    ops.swiglu_backward(saved.ffn_in, scratch.grad_activated, stash.grad_ffn_in);
  }
  ops.linear_input_grad(stash.grad_ffn_in, weights_.up_weight, scratch.grad_normed);
  ops.norm_backward(spec_.norm, scratch.grad_normed, saved.mid, saved.statistics2,
                    weights_.norm2_weight, stash.grad_output, stash.grad_mid,
                    gradients_.norm2_weight, gradients_.norm2_bias);

  ops.linear_input_grad(stash.grad_mid, weights_.output_weight, scratch.grad_mixed);
  mixer_->backward(ops, shape, first, scratch.grad_mixed, saved.mixed, stash.grad_projected,
                   {.saved = saved.mixer,
                    .carry = carry,
                    .carry_gradient = carry_gradient,
                    .workspace = scratch.mixer});
  ops.linear_input_grad(stash.grad_projected, weights_.qkv_weight, scratch.grad_normed);
  ops.norm_backward(spec_.norm, scratch.grad_normed, saved.input, saved.statistics1,
                    weights_.norm1_weight, stash.grad_mid, grad_input, gradients_.norm1_weight,
                    gradients_.norm1_bias);
}

void Block::weight_grad(kernels::Ops& ops, const SegmentShape& shape, const BlockSaved& saved,
                        const BlockStash& stash, std::byte* workspace) const {
  ArenaLayout arena(workspace);
  const WeightGradScratch scratch = lay_out_weight_grad(arena, shape);

  activate(ops, saved.ffn_in, scratch.activated);
  ops.linear_weight_grad(stash.grad_output, scratch.activated, gradients_.down_weight,
                         gradients_.down_bias);
  ops.norm_apply(spec_.norm, saved.mid, saved.statistics2, weights_.norm2_weight,
                 weights_.norm2_bias, scratch.normed);
  ops.linear_weight_grad(stash.grad_ffn_in, scratch.normed, gradients_.up_weight,
                         gradients_.up_bias);
  ops.linear_weight_grad(stash.grad_mid, saved.mixed, gradients_.output_weight,
                         gradients_.output_bias);
  ops.norm_apply(spec_.norm, saved.input, saved.statistics1, weights_.norm1_weight,
                 weights_.norm1_bias, scratch.normed);
  ops.linear_weight_grad(stash.grad_projected, scratch.normed, gradients_.qkv_weight,
                         gradients_.qkv_bias);
}

}  // namespace seq1f1b::model
