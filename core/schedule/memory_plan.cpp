#include "core/schedule/memory_plan.h"

#include <algorithm>
#include <limits>
#include <map>

#include "core/schedule/offsets.h"
#include "core/schedule/packing.h"
#include "kernels/common/errors.h"

namespace seq1f1b::schedule {
namespace {

constexpr std::int32_t kNoSlot = -1;

// Where the index of a slot is kept. Chunks come first, so that their number need not be known.
std::size_t dense_index(Lifetime lifetime, int chunk, Unit unit, int micro_batches, int segments) {
  const auto rows =
      static_cast<std::size_t>(chunk) * kLifetimes + static_cast<std::size_t>(lifetime);
  return (rows * static_cast<std::size_t>(micro_batches) +
          static_cast<std::size_t>(unit.micro_batch)) *
             static_cast<std::size_t>(segments) +
         static_cast<std::size_t>(unit.segment);
}

// An empty list of sizes asks for nothing.
std::size_t of_segment(const std::vector<std::size_t>& bytes, int segment) {
  return bytes.empty() ? 0 : bytes[static_cast<std::size_t>(segment)];
}

std::size_t bytes_of(const ChunkDemand& demand, Lifetime lifetime, const Action& action) {
  const int segment = action.unit.segment;
  switch (lifetime) {
    case Lifetime::kActivations:
      return of_segment(demand.activations, segment);
    case Lifetime::kStash:
      return of_segment(demand.stash, segment);
    case Lifetime::kCarry:
      return demand.carry;
    case Lifetime::kCarryGradient:
      return demand.carry_gradient;
    case Lifetime::kWorkspace:
      return of_segment(demand.workspace[static_cast<std::size_t>(action.kind)], segment);
  }
  throw InternalError("unknown lifetime");
}

void check_demands(const Schedule& schedule, std::span<const ChunkDemand> demands) {
  SEQ1F1B_ASSERT(demands.size() == static_cast<std::size_t>(schedule.spec.chunks),
                 "one demand per chunk");
  const auto segments = static_cast<std::size_t>(schedule.spec.segments);
  const auto check = [&](const std::vector<std::size_t>& bytes) {
    SEQ1F1B_ASSERT(bytes.empty() || bytes.size() == segments, bytes.size(), " sizes for ", segments,
                   " segments");
  };
  for (const ChunkDemand& demand : demands) {
    check(demand.activations);
    check(demand.stash);
    for (const std::vector<std::size_t>& workspace : demand.workspace) check(workspace);
  }
}

}  // namespace

const Slot& MemoryPlan::find(Lifetime lifetime, int chunk, Unit unit) const {
  const LifetimeRow& row = row_of(lifetime);
  SEQ1F1B_ASSERT(row.scope != Scope::kAction, "use workspace_of");
  if (row.scope == Scope::kMicroBatch) unit.segment = 0;
  SEQ1F1B_ASSERT(chunk >= 0 && unit.micro_batch >= 0 && unit.micro_batch < micro_batches_ &&
                     unit.segment >= 0 && unit.segment < segments_,
                 row.name, " of chunk ", chunk, ", micro-batch ", unit.micro_batch, ", segment ",
                 unit.segment);
  const std::size_t index = dense_index(lifetime, chunk, unit, micro_batches_, segments_);
  SEQ1F1B_ASSERT(index < index_.size() && index_[index] != kNoSlot, "the order has no ", row.name,
                 " of chunk ", chunk, ", micro-batch ", unit.micro_batch, ", segment ",
                 unit.segment);
  return slots_[static_cast<std::size_t>(index_[index])];
}

const Slot& MemoryPlan::workspace_of(std::size_t action_index) const {
  SEQ1F1B_ASSERT(action_index < workspace_.size(), "action ", action_index);
  return slots_[static_cast<std::size_t>(workspace_[action_index])];
}

std::int32_t MemoryPlan::graph_of(std::size_t action_index) const {
  SEQ1F1B_ASSERT(action_index < graph_of_action_.size(), "action ", action_index);
  return graph_of_action_[action_index];
}

// An action uses one slot of each lifetime at most.
void MemoryPlan::number_graphs(const Schedule& schedule, const Order& order) {
  using GraphKey = std::pair<std::array<int, 3>, std::array<std::size_t, kLifetimes>>;
  constexpr auto kNone = std::numeric_limits<std::size_t>::max();
  std::map<GraphKey, std::int32_t> numbers;
  for (std::size_t index = 0; index < order.size(); ++index) {
    const Action& action = order[index];
    GraphKey key{{static_cast<int>(action.kind), action.chunk, action.unit.segment}, {}};
    for (const LifetimeRow& row : lifetime_table()) {
      std::size_t& offset = key.second[static_cast<std::size_t>(row.lifetime)];
      if (row.scope == Scope::kAction)
        offset = workspace_of(index).offset;
      else if (uses(row, action.kind, schedule.split_backward))
        offset = find(row.lifetime, action.chunk, action.unit).offset;
      else
        offset = kNone;
    }
    const auto next = static_cast<std::int32_t>(numbers.size());
    const auto [place, is_new] = numbers.try_emplace(key, next);
    graph_of_action_.push_back(place->second);
    if (is_new) first_of_graph_.push_back(index);
  }
}

int MemoryPlan::peak_count(Lifetime lifetime) const {
  std::vector<Interval> ones;
  for (const Slot& slot : slots_)
    if (slot.lifetime == lifetime) ones.push_back({slot.first_action, slot.last_action, 1});
  return static_cast<int>(live_maximum(ones));
}

MemoryPlan plan_memory(const Schedule& schedule, int rank, std::span<const ChunkDemand> demands,
                       std::size_t alignment) {
  SEQ1F1B_ASSERT(rank >= 0 && rank < schedule.spec.ranks, "rank ", rank);
  SEQ1F1B_ASSERT(alignment >= 1, "alignment");
  check_demands(schedule, demands);
  const Order& order = schedule.orders[static_cast<std::size_t>(rank)];
  MemoryPlan plan;
  plan.micro_batches_ = schedule.spec.micro_batches;
  plan.segments_ = schedule.spec.segments;
  plan.index_.assign(
      dense_index(Lifetime{}, schedule.spec.chunks, {}, plan.micro_batches_, plan.segments_),
      kNoSlot);
  plan.workspace_.assign(order.size(), kNoSlot);

  const auto open = [&](Lifetime lifetime, const Action& action, std::int32_t at, int segment) {
    const std::size_t bytes =
        bytes_of(demands[static_cast<std::size_t>(action.chunk)], lifetime, action);
    plan.slots_.push_back({.lifetime = lifetime,
                           .kind = action.kind,
                           .chunk = action.chunk,
                           .micro_batch = action.unit.micro_batch,
                           .segment = segment,
                           .first_action = at,
                           .last_action = at,
                           .bytes = (bytes + alignment - 1) / alignment * alignment,
                           .offset = 0});
    return static_cast<std::int32_t>(plan.slots_.size() - 1);
  };
  // A slot begins where its kind first runs in its scope and reaches to the last action that uses
  // it; the lifetime table says which those are.
  for (std::size_t index = 0; index < order.size(); ++index) {
    const Action& action = order[index];
    const auto at = static_cast<std::int32_t>(index);
    for (const LifetimeRow& row : lifetime_table()) {
      if (row.only_split_backward && !schedule.split_backward) continue;
      if (row.scope == Scope::kAction) {
        plan.workspace_[index] = open(row.lifetime, action, at, action.unit.segment);
        continue;
      }
      const Unit unit{action.unit.micro_batch,
                      row.scope == Scope::kMicroBatch ? 0 : action.unit.segment};
      std::int32_t& slot = plan.index_[dense_index(row.lifetime, action.chunk, unit,
                                                   plan.micro_batches_, plan.segments_)];
      if (action.kind == row.opened_by && slot == kNoSlot)
        slot = open(row.lifetime, action, at, unit.segment);
      if (row.used_by[static_cast<std::size_t>(action.kind)] && slot != kNoSlot)
        plan.slots_[static_cast<std::size_t>(slot)].last_action = at;
    }
  }

  std::vector<Interval> intervals;
  intervals.reserve(plan.slots_.size());
  for (const Slot& slot : plan.slots_)
    intervals.push_back({slot.first_action, slot.last_action, slot.bytes});
  plan.live_ = live_maximum(intervals);
  const SlotOffsets found = offsets_of(plan.slots_, schedule.spec.micro_batches);
  plan.packed_ = found.bytes;
  plan.period_ = found.period;
  for (std::size_t i = 0; i < plan.slots_.size(); ++i) plan.slots_[i].offset = found.offsets[i];
  plan.number_graphs(schedule, order);
  return plan;
}

}  // namespace seq1f1b::schedule
