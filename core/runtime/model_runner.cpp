#include "core/runtime/model_runner.h"

#include <algorithm>

#include "kernels/common/errors.h"
#include "kernels/ops.h"

namespace seq1f1b::runtime {

using schedule::Action;
using schedule::Flow;
using schedule::Kind;
using schedule::Lifetime;

namespace {

constexpr std::size_t kFlows = 2;  // activations, gradients

// What the lifetime table says that the action uses; null elsewhere.
model::StageStorage storage_of(const schedule::Schedule& schedule, const Action& action,
                               std::size_t index, const schedule::MemoryPlan& memory,
                               std::byte* activations) {
  const auto of = [&](Lifetime lifetime) -> std::byte* {
    if (!uses(schedule::row_of(lifetime), action.kind, schedule.split_backward)) return nullptr;
    return activations + memory.find(lifetime, action.chunk, action.unit).offset;
  };
  model::StageStorage storage;
  storage.activations = of(Lifetime::kActivations);
  storage.carry = of(Lifetime::kCarry);
  storage.carry_gradient = of(Lifetime::kCarryGradient);
  storage.stash = of(Lifetime::kStash);
  storage.workspace = activations + memory.workspace_of(index).offset;
  return storage;
}

}  // namespace

ModelRunner::ModelRunner(const JobPlan& job, const schedule::Schedule& schedule, int pipeline_rank,
                         const schedule::MemoryPlan& memory, model::Mode mode,
                         std::span<const model::Stage> stages, kernels::Backend& backend,
                         StepInputs& inputs, std::byte* activations)
    : memory_(memory),
      order_(schedule.orders[static_cast<std::size_t>(pipeline_rank)]),
      mode_(mode),
      stages_(stages),
      backend_(backend),
      inputs_(inputs),
      segments_(schedule.spec.segments),
      shapes_(job.shapes()),
      next_(static_cast<std::size_t>(schedule.spec.chunks) * schedule::kKinds) {
  for (const model::Stage& stage : stages)
    for (const model::SegmentShape& shape : shapes_) stage.prepare(*backend.ops, shape);
  storage_.reserve(order_.size());
  for (std::size_t index = 0; index < order_.size(); ++index)
    storage_.push_back(storage_of(schedule, order_[index], index, memory, activations));
  // One send buffer for each way out of each chunk, and none.
  outputs_.reserve(
      kFlows * static_cast<std::size_t>(schedule.spec.chunks * job.depth.send_buffers) + 1);
}

void ModelRunner::take(const Action& action, std::size_t index, const std::byte* received) {
  const model::Stage& stage = stages_[static_cast<std::size_t>(action.chunk)];
  if (schedule::row_of(action.kind).receives == Flow::kActivation)
    stage.take_activation(*backend_.ops, shape_of(action), storage_[index], received);
  else
    stage.take_gradient(*backend_.ops, shape_of(action), storage_[index], received);
}

void ModelRunner::run(const Action& action, std::size_t index, std::byte* output) {
  expect_segment(action);
  if (schedule::row_of(action.kind).reads_samples) inputs_.select(action.unit);
  backend_.device->replay(key_of(index, output), [&] { issue(action, index, output); });
}

void ModelRunner::warm_up(std::span<const MessageBuffers> buffers) {
  for (const std::size_t index : memory_.first_of_graph()) {
    const Action& action = order_[index];
    const MessageBuffers& of_chunk = buffers[static_cast<std::size_t>(action.chunk)];
    const schedule::KindRow& row = schedule::row_of(action.kind);
    const std::byte* received = row.receives == Flow::kActivation ? of_chunk.activation_in
                                : row.receives == Flow::kGradient ? of_chunk.gradient_in
                                                                  : nullptr;
    if (received) take(action, index, received);
    if (row.reads_samples) inputs_.select(action.unit);
    std::vector<std::byte*> outputs;
    if (row.sends == Flow::kActivation) outputs = of_chunk.activation_out;
    if (row.sends == Flow::kGradient) outputs = of_chunk.gradient_out;
    if (outputs.empty()) outputs = {nullptr};
    for (std::byte* output : outputs)
      backend_.device->replay(key_of(index, output), [&] { issue(action, index, output); });
  }
}

void ModelRunner::issue(const Action& action, std::size_t index, std::byte* output) {
  const model::SegmentShape& shape = shape_of(action);
  const model::Stage& stage = stages_[static_cast<std::size_t>(action.chunk)];
  kernels::Ops& ops = *backend_.ops;
  switch (action.kind) {
    case Kind::kForward:
      stage.forward(ops, shape, mode_, storage_[index], inputs_.of(shape), output);
      break;
    case Kind::kBackward:
      stage.backward(ops, shape, action.unit.segment == segments_ - 1, storage_[index],
                     inputs_.of(shape), output);
      break;
    case Kind::kWeightGrad:
      stage.weight_grad(ops, shape, storage_[index]);
      break;
  }
}

// Everything that the work depends on: training or evaluation, the graph, the send buffer.
std::uint64_t ModelRunner::key_of(std::size_t index, const std::byte* output) {
  auto place = std::ranges::find(outputs_, output);
  if (place == outputs_.end()) {
    SEQ1F1B_ASSERT(outputs_.size() < outputs_.capacity(), "more send buffers than planned");
    place = outputs_.insert(place, output);
  }
  const auto buffer = static_cast<std::uint64_t>(place - outputs_.begin());
  const auto graph = static_cast<std::uint64_t>(memory_.graph_of(index));
  return (static_cast<std::uint64_t>(mode_) << 48) | (buffer << 32) | graph;
}

// A segment out of order gives silently wrong gradients: never go on.
void ModelRunner::expect_segment(const Action& action) {
  const schedule::KindRow& row = schedule::row_of(action.kind);
  if (!row.ascending_segments && !row.descending_segments) return;
  schedule::Unit& next = next_[static_cast<std::size_t>(action.chunk) * schedule::kKinds +
                               static_cast<std::size_t>(action.kind)];
  const int first = row.ascending_segments ? 0 : segments_ - 1;
  if (action.unit.segment == first) next = action.unit;
  SEQ1F1B_ASSERT(next == action.unit, schedule::to_string(action),
                 " comes out of the order of its segments");
  next.segment += row.ascending_segments ? 1 : -1;
}

}  // namespace seq1f1b::runtime
