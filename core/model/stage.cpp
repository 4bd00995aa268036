#include "core/model/stage.h"

#include <algorithm>

#include "kernels/common/errors.h"

namespace seq1f1b::model {

using kernels::Tensor;
using parameters::Purpose;

Stage::Stage(const ModelSpec& spec, const StageLayers& layers, Precision precision,
             bool split_backward, const parameters::Store* store)
    : spec_(spec), layers_(layers), precision_(precision), split_backward_(split_backward) {
  SEQ1F1B_ASSERT(layers.blocks > 0, "a stage needs at least one block");
  blocks_.reserve(static_cast<std::size_t>(layers.blocks));
  for (int i = 0; i < layers.blocks; ++i)
    blocks_.emplace_back(spec, precision, layers.first_block + i, store);
  if (layers.head) head_.emplace_back(spec, precision, store);
  if (!layers.embedding || !store) return;
  const auto& token = store->layout().find("embedding.token.weight");
  token_weight_ = store->weight(token);
  const bool training = store->purpose() == Purpose::kTraining;
  if (training) grad_token_weight_ = store->gradient(token);
  if (spec.positions == 0) return;
  const auto& position = store->layout().find("embedding.position.weight");
  position_weight_ = store->weight(position);
  if (training) grad_position_weight_ = store->gradient(position);
}

Stage::Saved Stage::lay_out_saved(ArenaLayout& arena, const SegmentShape& shape) const {
  Saved saved;
  saved.blocks.reserve(blocks_.size());
  for (const Block& block : blocks_) saved.blocks.push_back(block.lay_out_saved(arena, shape));
  if (layers_.head) saved.hidden = arena.take(precision_.compute, {shape.rows(), spec_.hidden});
  return saved;
}

Stage::Backward Stage::lay_out_backward(ArenaLayout& stash, ArenaLayout& workspace,
                                        const SegmentShape& shape) const {
  Backward result;
  const auto gradient = [&] {
    return workspace.take(precision_.compute, {shape.rows(), spec_.hidden});
  };
  if (split_backward_) {
    for (const Block& block : blocks_) result.stashes.push_back(block.lay_out_stash(stash, shape));
    if (layers_.embedding) result.embedding_grad = gradient();
  } else {
    // One stash serves all blocks in turn; gradients between blocks alternate between two buffers.
    const BlockStash shared = blocks_.front().lay_out_stash(workspace, shape);
    Tensor current = shared.grad_output, other;
    if (blocks_.size() > 1 || layers_.embedding) other = gradient();
    result.stashes.assign(blocks_.size(), shared);
    for (std::size_t i = blocks_.size(); i-- > 0;) {
      result.stashes[i].grad_output = current;
      std::swap(current, other);
    }
    if (layers_.embedding) result.embedding_grad = current;
  }
  std::size_t scratch = 0;
  for (const Block& block : blocks_) {
    scratch = std::max(scratch, block.input_grad_workspace_bytes(shape));
    if (!split_backward_) scratch = std::max(scratch, block.weight_grad_workspace_bytes(shape));
  }
  for (const Head& head : head_)
    scratch = std::max(scratch, head.backward_workspace_bytes(shape.rows()));
  result.scratch = workspace.take_bytes(scratch);
  return result;
}

std::size_t Stage::forward_workspace_bytes(const SegmentShape& shape, Mode mode) const {
  std::size_t bytes = 0;
  for (const Block& block : blocks_) bytes = std::max(bytes, block.forward_workspace_bytes(shape));
  if (mode == Mode::kEvaluation)
    for (const Head& head : head_)
      bytes = std::max(bytes, head.evaluate_workspace_bytes(shape.rows()));
  return bytes;
}

schedule::ChunkDemand Stage::demand(Mode mode, std::span<const SegmentShape> segments) const {
  using schedule::Kind;
  schedule::ChunkDemand demand;
  const auto workspace = [&](Kind kind) -> std::vector<std::size_t>& {
    return demand.workspace[static_cast<std::size_t>(kind)];
  };
  for (const SegmentShape& shape : segments) {
    demand.activations.push_back(unit_bytes(shape));
    workspace(Kind::kForward).push_back(forward_workspace_bytes(shape, mode));
    ArenaLayout stash, scratch, weight_scratch;
    lay_out_backward(stash, scratch, shape);
    for (const Block& block : blocks_) {
      ArenaLayout one;
      one.take_bytes(block.weight_grad_workspace_bytes(shape));
      weight_scratch.extend_to(one);
    }
    demand.stash.push_back(stash.used());
    workspace(Kind::kBackward).push_back(scratch.used());
    workspace(Kind::kWeightGrad).push_back(weight_scratch.used());
  }
  // Of the whole sequence, whatever the segment.
  demand.carry = carry_bytes(segments.front());
  for (const Block& block : blocks_)
    demand.carry_gradient += block.carry_gradient_bytes(segments.front());
  return demand;
}

std::size_t Stage::message_bytes(const SegmentShape& shape) const {
  return static_cast<std::size_t>(shape.rows() * spec_.hidden) *
         kernels::dtype_bytes(precision_.compute);
}
std::size_t Stage::unit_bytes(const SegmentShape& shape) const {
  ArenaLayout arena;
  lay_out_saved(arena, shape);
  return arena.used();
}
std::size_t Stage::carry_bytes(const SegmentShape& shape) const {
  std::size_t bytes = 0;
  for (const Block& block : blocks_) bytes += block.carry_bytes(shape);
  return bytes;
}

Tensor Stage::message(const std::byte* data, const SegmentShape& shape) const {
  return Tensor(const_cast<std::byte*>(data), precision_.compute, {shape.rows(), spec_.hidden});
}
Tensor Stage::unit_input(const SegmentShape& shape, const StageStorage& storage) const {
  ArenaLayout arena(storage.activations);
  return blocks_.front().lay_out_saved(arena, shape).input;
}
Tensor Stage::unit_grad_output(const SegmentShape& shape, const StageStorage& storage) const {
  ArenaLayout stash(storage.stash), workspace(storage.workspace);
  return lay_out_backward(stash, workspace, shape).stashes.back().grad_output;
}

void Stage::run_blocks(kernels::Ops& ops, const SegmentShape& shape, const StageStorage& storage,
                       const StageInput& input, const Saved& saved, const Tensor& output) const {
  if (layers_.embedding)
    ops.embedding_forward(
        input.tokens, token_weight_, position_weight_, shape.start,
        saved.blocks.front().input.reshaped({shape.batch_size, shape.tokens, spec_.hidden}));
  std::byte* carry = storage.carry;
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    const Tensor& next = i + 1 < blocks_.size() ? saved.blocks[i + 1].input : output;
    blocks_[i].forward(ops, shape, saved.blocks[i], carry, next, storage.workspace);
    carry += blocks_[i].carry_bytes(shape);
  }
}

void Stage::take_activation(kernels::Ops& ops, const SegmentShape& shape,
                            const StageStorage& storage, const std::byte* received) const {
  ops.copy(message(received, shape), unit_input(shape, storage));
}

void Stage::take_gradient(kernels::Ops& ops, const SegmentShape& shape, const StageStorage& storage,
                          const std::byte* received) const {
  ops.copy(message(received, shape), unit_grad_output(shape, storage));
}

void Stage::forward(kernels::Ops& ops, const SegmentShape& shape, Mode mode,
                    const StageStorage& storage, const StageInput& input, std::byte* output) const {
  ArenaLayout arena(storage.activations);
  const Saved saved = lay_out_saved(arena, shape);
  run_blocks(ops, shape, storage, input, saved,
             layers_.head ? saved.hidden : message(output, shape));
  if (mode == Mode::kEvaluation && layers_.head)
    head_.front().evaluate(ops, saved.hidden, input.loss, storage.workspace);
}

void Stage::backward(kernels::Ops& ops, const SegmentShape& shape, bool last_segment,
                     const StageStorage& storage, const StageInput& input,
                     std::byte* grad_input) const {
  ArenaLayout unit(storage.activations), stash(storage.stash), workspace(storage.workspace);
  const Saved saved = lay_out_saved(unit, shape);
  const Backward backward = lay_out_backward(stash, workspace, shape);
  if (layers_.head)
    head_.front().backward(ops, saved.hidden, input.loss, backward.stashes.back().grad_output,
                           backward.scratch);
  std::vector<std::size_t> carry_offset(blocks_.size(), 0), gradient_offset(blocks_.size(), 0);
  for (std::size_t i = 1; i < blocks_.size(); ++i) {
    carry_offset[i] = carry_offset[i - 1] + blocks_[i - 1].carry_bytes(shape);
    gradient_offset[i] = gradient_offset[i - 1] + blocks_[i - 1].carry_gradient_bytes(shape);
  }
  for (std::size_t i = blocks_.size(); i-- > 0;) {
    const Tensor target = i > 0               ? backward.stashes[i - 1].grad_output
                          : layers_.embedding ? backward.embedding_grad
                                              : message(grad_input, shape);
    blocks_[i].input_grad(
        ops, shape, last_segment, saved.blocks[i], storage.carry + carry_offset[i],
        storage.carry_gradient + gradient_offset[i], backward.stashes[i], target, backward.scratch);
    if (!split_backward_)
      blocks_[i].weight_grad(ops, shape, saved.blocks[i], backward.stashes[i], backward.scratch);
  }
  if (layers_.embedding)
    ops.embedding_backward(
        input.tokens,
        backward.embedding_grad.reshaped({shape.batch_size, shape.tokens, spec_.hidden}),
        shape.start, grad_token_weight_, grad_position_weight_);
}

void Stage::weight_grad(kernels::Ops& ops, const SegmentShape& shape,
                        const StageStorage& storage) const {
  SEQ1F1B_ASSERT(split_backward_, "weight_grad without a split backward");
  ArenaLayout unit(storage.activations), stash(storage.stash), unused;
  const Saved saved = lay_out_saved(unit, shape);
  const Backward backward = lay_out_backward(stash, unused, shape);
  for (std::size_t i = blocks_.size(); i-- > 0;)
    blocks_[i].weight_grad(ops, shape, saved.blocks[i], backward.stashes[i], storage.workspace);
}

std::size_t Stage::next_token_workspace_bytes(const SegmentShape& shape) const {
  SEQ1F1B_ASSERT(layers_.embedding && layers_.head, "sampling needs all layers on one stage");
  return std::max(forward_workspace_bytes(shape, Mode::kTraining),
                  head_.front().evaluate_workspace_bytes(shape.batch_size));
}

void Stage::next_token_logits(kernels::Ops& ops, const SegmentShape& shape,
                              const StageStorage& storage, const StageInput& input,
                              const Tensor& logits) const {
  SEQ1F1B_ASSERT(shape.batch_size == 1, "one sequence is sampled at a time");
  ArenaLayout arena(storage.activations);
  const Saved saved = lay_out_saved(arena, shape);
  run_blocks(ops, shape, storage, input, saved, saved.hidden);
  auto* last = static_cast<std::byte*>(saved.hidden.data) +
               static_cast<std::size_t>((shape.tokens - 1) * spec_.hidden) *
                   kernels::dtype_bytes(precision_.compute);
  head_.front().logits(ops, Tensor(last, precision_.compute, {1, spec_.hidden}), logits,
                       storage.workspace);
}

}  // namespace seq1f1b::model
