#include "core/model/stage.h"

#include <algorithm>

#include "kernels/common/errors.h"

namespace seq1f1b::model {

using kernels::Tensor;
using schedule::Feature;
using schedule::Flow;
using schedule::Kind;
using schedule::Lifetime;

Stage::Stage(const ModelSpec& spec, const StageLayers& layers, Precision precision,
             schedule::FeatureSet features, const parameters::Store* store)
    : spec_(spec), layers_(layers), precision_(precision), features_(features) {
  SEQ1F1B_ASSERT(layers.blocks > 0, "a stage needs at least one block");
  if (layers.embedding) embedding_.emplace(spec, store);
  blocks_.reserve(static_cast<std::size_t>(layers.blocks));
  for (int i = 0; i < layers.blocks; ++i)
    blocks_.emplace_back(spec, precision, layers.first_block + i, store);
  if (layers.head) head_.emplace(spec, precision, store);
}

// ---- storage ----------------------------------------------------------------------------------

Stage::Saved Stage::lay_out_saved(ArenaLayout& kept, ArenaLayout& backward_only,
                                  const SegmentShape& shape) const {
  Saved saved;
  saved.blocks.reserve(blocks_.size());
  for (const Block& block : blocks_)
    saved.blocks.push_back(block.lay_out_saved(kept, backward_only, shape));
  if (head_) saved.hidden = backward_only.take(precision_.compute, {shape.rows(), spec_.hidden});
  return saved;
}

Stage::Saved Stage::saved_in(const StageStorage& storage, const SegmentShape& shape) const {
  ArenaLayout kept(storage[Lifetime::kActivations]);
  ArenaLayout backward_only(storage[Lifetime::kBackwardActivations]);
  return lay_out_saved(kept, splits() ? backward_only : kept, shape);
}

Stage::Gradients Stage::lay_out_gradients(ArenaLayout& stash, ArenaLayout& workspace,
                                          const SegmentShape& shape) const {
  Gradients result;
  const auto gradient = [&](ArenaLayout& arena) {
    return arena.take(precision_.compute, {shape.rows(), spec_.hidden});
  };
  if (splits()) {
    for (const Block& block : blocks_) result.blocks.push_back(block.lay_out_stash(stash, shape));
    if (embedding_) result.embedding = gradient(stash);
  } else {
    // One stash serves all blocks in turn; gradients between blocks alternate between two buffers.
    const BlockStash shared = blocks_.front().lay_out_stash(workspace, shape);
    Tensor current = shared.grad_output, other;
    if (blocks_.size() > 1 || embedding_) other = gradient(workspace);
    result.blocks.assign(blocks_.size(), shared);
    for (std::size_t i = blocks_.size(); i-- > 0;) {
      result.blocks[i].grad_output = current;
      std::swap(current, other);
    }
    if (embedding_) result.embedding = current;
  }
  std::size_t scratch = most_of_blocks([&](const Block& block) {
    return std::max(block.input_grad_workspace_bytes(shape),
                    splits() ? 0 : block.weight_grad_workspace_bytes(shape));
  });
  if (head_) scratch = std::max(scratch, head_->backward_workspace_bytes(shape.rows()));
  result.scratch = workspace.take_bytes(scratch);
  return result;
}

Stage::Gradients Stage::gradients_in(const StageStorage& storage, const SegmentShape& shape) const {
  ArenaLayout stash(storage[Lifetime::kStash]), workspace(storage[Lifetime::kWorkspace]);
  return lay_out_gradients(stash, workspace, shape);
}

template <class Size>
std::size_t Stage::most_of_blocks(const Size& size) const {
  std::size_t most = 0;
  for (const Block& block : blocks_) most = std::max(most, size(block));
  return most;
}

std::size_t Stage::bytes(Lifetime lifetime, const SegmentShape& shape) const {
  ArenaLayout kept, backward_only, stash, workspace;
  std::size_t sum = 0;
  switch (lifetime) {
    case Lifetime::kActivations:
    case Lifetime::kBackwardActivations:
      lay_out_saved(kept, splits() ? backward_only : kept, shape);
      return (lifetime == Lifetime::kActivations ? kept : backward_only).used();
    case Lifetime::kStash:
      lay_out_gradients(stash, workspace, shape);
      return stash.used();
    case Lifetime::kCarry:
      for (const Block& block : blocks_) sum += block.carry_bytes(shape);
      return sum;
    case Lifetime::kCarryGradient:
      for (const Block& block : blocks_) sum += block.carry_gradient_bytes(shape);
      return sum;
    case Lifetime::kWorkspace:
      break;
  }
  throw InternalError("a lifetime that stages do not know, or workspace");
}

std::size_t Stage::forward_workspace_bytes(const SegmentShape& shape) const {
  return most_of_blocks([&](const Block& block) { return block.forward_workspace_bytes(shape); });
}

std::size_t Stage::workspace_bytes(Kind kind, const SegmentShape& shape) const {
  ArenaLayout stash, workspace;
  std::size_t bytes = 0;
  switch (kind) {
    case Kind::kForward:
      bytes = forward_workspace_bytes(shape);
      if (head_ && !features_.has(Feature::kBackward))
        bytes = std::max(bytes, head_->evaluate_workspace_bytes(shape.rows()));
      return bytes;
    case Kind::kBackward:
      lay_out_gradients(stash, workspace, shape);
      return workspace.used();
    case Kind::kWeightGrad:
      return most_of_blocks(
          [&](const Block& block) { return block.weight_grad_workspace_bytes(shape); });
  }
  throw InternalError("a kind of action that stages do not know");
}

schedule::ChunkDemand Stage::demand(std::span<const SegmentShape> segments) const {
  schedule::ChunkDemand demand;
  for (const schedule::LifetimeRow& row : schedule::lifetime_table()) {
    if (row.scope == schedule::Scope::kAction || !row.exists_with(features_)) continue;
    // What spans a micro-batch is of the whole sequence, whatever the segment.
    for (const SegmentShape& shape :
         row.scope == schedule::Scope::kMicroBatch ? segments.first(1) : segments)
      demand.of(row.lifetime).push_back(bytes(row.lifetime, shape));
  }
  for (const schedule::KindRow& row : schedule::action_table())
    if (features_.includes(row.required))
      for (const SegmentShape& shape : segments)
        demand.workspace_of(row.kind).push_back(workspace_bytes(row.kind, shape));
  return demand;
}

// ---- work -------------------------------------------------------------------------------------

Tensor Stage::message(const std::byte* data, const SegmentShape& shape) const {
  return Tensor(const_cast<std::byte*>(data), precision_.compute, {shape.rows(), spec_.hidden});
}

void Stage::take(Flow flow, kernels::Ops& ops, const SegmentShape& shape,
                 const StageStorage& storage, const std::byte* received) const {
  ops.copy(message(received, shape), flow == Flow::kActivation
                                         ? saved_in(storage, shape).blocks.front().input
                                         : gradients_in(storage, shape).blocks.back().grad_output);
}

void Stage::run(Kind kind, kernels::Ops& ops, const StageCall& call) const {
  switch (kind) {
    case Kind::kForward:
      return forward(ops, call);
    case Kind::kBackward:
      return backward(ops, call);
    case Kind::kWeightGrad:
      return weight_grad(ops, call);
  }
  throw InternalError("a kind of action that stages do not know");
}

void Stage::run_blocks(kernels::Ops& ops, const StageCall& call, const Saved& saved,
                       const Tensor& output) const {
  if (embedding_)
    embedding_->forward(ops, call.shape, call.input.tokens, saved.blocks.front().input);
  std::byte* carry = call.storage[Lifetime::kCarry];
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    const Tensor& next = i + 1 < blocks_.size() ? saved.blocks[i + 1].input : output;
    blocks_[i].forward(ops, call.shape, saved.blocks[i], carry, next,
                       call.storage[Lifetime::kWorkspace]);
    carry += blocks_[i].carry_bytes(call.shape);
  }
}

// On the last stage the output is what the head will read.
void Stage::forward(kernels::Ops& ops, const StageCall& call) const {
  const Saved saved = saved_in(call.storage, call.shape);
  run_blocks(ops, call, saved, head_ ? saved.hidden : message(call.output, call.shape));
  if (head_ && !features_.has(Feature::kBackward))
    head_->evaluate(ops, saved.hidden, call.input.loss, call.storage[Lifetime::kWorkspace]);
}

// Input gradients; weight gradients too unless the backward is split. The head takes its weight
// gradient here in any case: waiting for it would mean to keep the gradients of all logits.
void Stage::backward(kernels::Ops& ops, const StageCall& call) const {
  const SegmentShape& shape = call.shape;
  const Saved saved = saved_in(call.storage, shape);
  const Gradients gradients = gradients_in(call.storage, shape);
  if (head_)
    head_->backward(ops, saved.hidden, call.input.loss, gradients.blocks.back().grad_output,
                    gradients.scratch);
  std::byte* carry = call.storage[Lifetime::kCarry] + bytes(Lifetime::kCarry, shape);
  std::byte* carry_gradient =
      call.storage[Lifetime::kCarryGradient] + bytes(Lifetime::kCarryGradient, shape);
  for (std::size_t i = blocks_.size(); i-- > 0;) {
    const Tensor target = i > 0        ? gradients.blocks[i - 1].grad_output
                          : embedding_ ? gradients.embedding
                                       : message(call.output, shape);
    carry -= blocks_[i].carry_bytes(shape);
    carry_gradient -= blocks_[i].carry_gradient_bytes(shape);
    blocks_[i].input_grad(ops, shape, call.last_segment, saved.blocks[i], carry, carry_gradient,
                          gradients.blocks[i], target, gradients.scratch);
    if (!splits())
      blocks_[i].weight_grad(ops, shape, saved.blocks[i], gradients.blocks[i], gradients.scratch);
  }
  if (embedding_ && !splits())
    embedding_->weight_grad(ops, shape, call.input.tokens, gradients.embedding);
}

void Stage::weight_grad(kernels::Ops& ops, const StageCall& call) const {
  SEQ1F1B_ASSERT(splits(), "weight_grad without a split backward");
  ArenaLayout stash(call.storage[Lifetime::kStash]), unused;
  const Saved saved = saved_in(call.storage, call.shape);
  const Gradients gradients = lay_out_gradients(stash, unused, call.shape);
  for (std::size_t i = blocks_.size(); i-- > 0;)
    blocks_[i].weight_grad(ops, call.shape, saved.blocks[i], gradients.blocks[i],
                           call.storage[Lifetime::kWorkspace]);
  if (embedding_) embedding_->weight_grad(ops, call.shape, call.input.tokens, gradients.embedding);
}

// ---- sampling ---------------------------------------------------------------------------------

std::size_t Stage::next_token_workspace_bytes(const SegmentShape& shape) const {
  SEQ1F1B_ASSERT(embedding_ && head_, "sampling needs all layers on one stage");
  return std::max(forward_workspace_bytes(shape),
                  head_->evaluate_workspace_bytes(shape.batch_size));
}

void Stage::next_token_logits(kernels::Ops& ops, const StageCall& call,
                              const Tensor& logits) const {
  SEQ1F1B_ASSERT(call.shape.batch_size == 1, "one sequence is sampled at a time");
  const Saved saved = saved_in(call.storage, call.shape);
  run_blocks(ops, call, saved, saved.hidden);
  auto* last = static_cast<std::byte*>(saved.hidden.data) +
               static_cast<std::size_t>((call.shape.tokens - 1) * spec_.hidden) *
                   kernels::dtype_bytes(precision_.compute);
  head_->logits(ops, Tensor(last, precision_.compute, {1, spec_.hidden}), logits,
                call.storage[Lifetime::kWorkspace]);
}

}  // namespace seq1f1b::model
