#include "core/runtime/model_runner.h"

#include <algorithm>

#include "kernels/common/errors.h"
#include "kernels/ops.h"

namespace seq1f1b::runtime {

using schedule::Action;
using schedule::Feature;
using schedule::SegmentOrder;

namespace {

// What the lifetime table says that the action uses; null elsewhere.
model::StageStorage storage_of(const schedule::Schedule& schedule, const Action& action,
                               std::size_t index, const schedule::MemoryPlan& memory,
                               std::byte* activations) {
  model::StageStorage storage;
  for (const schedule::LifetimeRow& row : schedule::lifetime_table()) {
    if (!uses(row, action.kind, schedule.features)) continue;
    const schedule::Slot& slot = row.scope == schedule::Scope::kAction
                                     ? memory.workspace_of(index)
                                     : memory.find(row.lifetime, action.chunk, action.unit);
    storage[row.lifetime] = activations + slot.offset;
  }
  return storage;
}

}  // namespace

ModelRunner::ModelRunner(const plan::JobPlan& job, const schedule::Schedule& schedule,
                         int pipeline_rank, const schedule::MemoryPlan& memory,
                         std::span<const model::Stage> stages, kernels::Backend& backend,
                         StepInputs& inputs, std::byte* activations)
    : job_(job),
      schedule_(schedule),
      memory_(memory),
      order_(schedule.orders[static_cast<std::size_t>(pipeline_rank)]),
      stages_(stages),
      backend_(backend),
      inputs_(inputs),
      next_(static_cast<std::size_t>(schedule.spec.chunks) * schedule::kKinds) {
  for (const model::Stage& stage : stages)
    for (const model::SegmentShape& shape : job.units.bounds()) stage.prepare(*backend.ops, shape);
  storage_.reserve(order_.size());
  for (std::size_t index = 0; index < order_.size(); ++index)
    storage_.push_back(storage_of(schedule, order_[index], index, memory, activations));
}

void ModelRunner::take(const Action& action, std::size_t index, const std::byte* received) {
  stages_[static_cast<std::size_t>(action.chunk)].take(*schedule::row_of(action.kind).receives,
                                                       *backend_.ops, job_.units.shape(action.unit),
                                                       storage_[index], received);
}

void ModelRunner::run(const Action& action, std::size_t index, std::byte* output) {
  expect_segment(action);
  if (schedule::row_of(action.kind).reads_samples) inputs_.select(action.unit);
  backend_.device->replay(key_of(index, output), [&] { issue(action, index, output); });
}

void ModelRunner::warm_up(std::span<const ChunkPorts> ports) {
  for (const std::size_t index : memory_.first_of_graph()) {
    const Action& action = order_[index];
    const ChunkPorts& of_chunk = ports[static_cast<std::size_t>(action.chunk)];
    const schedule::KindRow& row = schedule::row_of(action.kind);
    if (row.receives && of_chunk[*row.receives].arrival)
      take(action, index, of_chunk[*row.receives].arrival);
    if (row.reads_samples) inputs_.select(action.unit);
    std::vector<std::byte*> outputs;
    if (row.sends) outputs = of_chunk[*row.sends].departures;
    if (outputs.empty()) outputs = {nullptr};
    for (std::byte* output : outputs)
      backend_.device->replay(key_of(index, output), [&] { issue(action, index, output); });
  }
}

void ModelRunner::issue(const Action& action, std::size_t index, std::byte* output) {
  const model::SegmentShape& shape = job_.units.shape(action.unit);
  stages_[static_cast<std::size_t>(action.chunk)].run(
      action.kind, *backend_.ops,
      {.shape = shape,
       .last_segment = action.unit.segment == schedule_.spec.segments - 1,
       .storage = storage_[index],
       .input = inputs_.of(shape),
       .output = output});
}

// Everything that the work depends on: training or evaluation, the graph, the send buffer.
std::uint64_t ModelRunner::key_of(std::size_t index, const std::byte* output) {
  auto place = std::ranges::find(departures_, output);
  if (place == departures_.end()) place = departures_.insert(place, output);
  const auto buffer = static_cast<std::uint64_t>(place - departures_.begin());
  const auto graph = static_cast<std::uint64_t>(memory_.graph_of(index));
  const std::uint64_t pass = schedule_.has(Feature::kBackward) ? 0 : 1;
  return (pass << 48) | (buffer << 32) | graph;
}

// A segment out of order gives silently wrong gradients: never go on.
void ModelRunner::expect_segment(const Action& action) {
  const SegmentOrder order = schedule::row_of(action.kind).segments;
  if (order == SegmentOrder::kAny) return;
  schedule::Unit& next = next_[static_cast<std::size_t>(action.chunk) * schedule::kKinds +
                               static_cast<std::size_t>(action.kind)];
  const bool ascending = order == SegmentOrder::kAscending;
  const int first = ascending ? 0 : schedule_.spec.segments - 1;
  if (action.unit.segment == first) next = action.unit;
  SEQ1F1B_ASSERT(next == action.unit, schedule::to_string(action),
                 " comes out of the order of its segments");
  next.segment += ascending ? 1 : -1;
}

}  // namespace seq1f1b::runtime
