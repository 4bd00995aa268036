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

std::size_t bytes_of(const ChunkDemand& demand, const Slot& slot) {
  const std::vector<std::size_t>& bytes =
      row_of(slot.lifetime).scope == Scope::kAction
          ? demand.workspace[static_cast<std::size_t>(slot.kind)]
          : demand.stored[static_cast<std::size_t>(slot.lifetime)];
  return bytes.empty() ? 0 : bytes[static_cast<std::size_t>(slot.segment)];
}

void check_demands(const Schedule& schedule, std::span<const ChunkDemand> demands) {
  SEQ1F1B_ASSERT(demands.size() == static_cast<std::size_t>(schedule.spec.chunks),
                 "one demand per chunk");
  const auto check = [](const std::vector<std::size_t>& bytes, int count) {
    SEQ1F1B_ASSERT(bytes.empty() || bytes.size() == static_cast<std::size_t>(count), bytes.size(),
                   " sizes instead of ", count);
  };
  const int segments = schedule.spec.segments;
  for (const ChunkDemand& demand : demands) {
    for (const LifetimeRow& row : lifetime_table())
      check(demand.stored[static_cast<std::size_t>(row.lifetime)],
            row.scope == Scope::kMicroBatch ? 1
            : row.scope == Scope::kUnit     ? segments
                                            : 0);
    for (const std::vector<std::size_t>& workspace : demand.workspace) check(workspace, segments);
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
      else if (uses(row, action.kind, schedule.features))
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

std::vector<Slot> slots_of(const Schedule& schedule, int rank) {
  SEQ1F1B_ASSERT(rank >= 0 && rank < schedule.spec.ranks, "rank ", rank);
  const Order& order = schedule.orders[static_cast<std::size_t>(rank)];
  const int micro_batches = schedule.spec.micro_batches, segments = schedule.spec.segments;
  std::vector<std::int32_t> known(
      dense_index(Lifetime{}, schedule.spec.chunks, {}, micro_batches, segments), kNoSlot);
  std::vector<Slot> slots;
  for (std::size_t index = 0; index < order.size(); ++index) {
    const Action& action = order[index];
    const auto at = static_cast<std::int32_t>(index);
    for (const LifetimeRow& row : lifetime_table()) {
      if (!uses(row, action.kind, schedule.features)) continue;
      const Unit unit{action.unit.micro_batch,
                      row.scope == Scope::kMicroBatch ? 0 : action.unit.segment};
      std::int32_t own = kNoSlot;
      std::int32_t& slot =
          row.scope == Scope::kAction
              ? own
              : known[dense_index(row.lifetime, action.chunk, unit, micro_batches, segments)];
      if (slot == kNoSlot) {
        slot = static_cast<std::int32_t>(slots.size());
        slots.push_back({.lifetime = row.lifetime,
                         .kind = action.kind,
                         .chunk = action.chunk,
                         .micro_batch = unit.micro_batch,
                         .segment = unit.segment,
                         .first_action = at,
                         .last_action = at});
      }
      slots[static_cast<std::size_t>(slot)].last_action = at;
    }
  }
  return slots;
}

MemoryPlan plan_memory(const Schedule& schedule, int rank, std::span<const ChunkDemand> demands,
                       std::size_t alignment) {
  SEQ1F1B_ASSERT(alignment >= 1, "alignment");
  check_demands(schedule, demands);
  MemoryPlan plan;
  plan.slots_ = slots_of(schedule, rank);
  const Order& order = schedule.orders[static_cast<std::size_t>(rank)];
  plan.micro_batches_ = schedule.spec.micro_batches;
  plan.segments_ = schedule.spec.segments;
  plan.index_.assign(
      dense_index(Lifetime{}, schedule.spec.chunks, {}, plan.micro_batches_, plan.segments_),
      kNoSlot);
  plan.workspace_.assign(order.size(), kNoSlot);

  std::vector<Interval> intervals;
  intervals.reserve(plan.slots_.size());
  for (std::size_t i = 0; i < plan.slots_.size(); ++i) {
    Slot& slot = plan.slots_[i];
    const auto number = static_cast<std::int32_t>(i);
    if (row_of(slot.lifetime).scope == Scope::kAction)
      plan.workspace_[static_cast<std::size_t>(slot.first_action)] = number;
    else
      plan.index_[dense_index(slot.lifetime, slot.chunk, {slot.micro_batch, slot.segment},
                              plan.micro_batches_, plan.segments_)] = number;
    const std::size_t bytes = bytes_of(demands[static_cast<std::size_t>(slot.chunk)], slot);
    slot.bytes = (bytes + alignment - 1) / alignment * alignment;
    intervals.push_back({slot.first_action, slot.last_action, slot.bytes});
  }
  plan.live_ = live_maximum(intervals);
  const SlotOffsets found = offsets_of(plan.slots_, schedule.spec.micro_batches);
  plan.packed_ = found.bytes;
  plan.period_ = found.period;
  for (std::size_t i = 0; i < plan.slots_.size(); ++i) plan.slots_[i].offset = found.offsets[i];
  plan.number_graphs(schedule, order);
  return plan;
}

}  // namespace seq1f1b::schedule
