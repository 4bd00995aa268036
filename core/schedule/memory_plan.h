#pragma once
// Storage of one rank, planned from its order: every slot's lifetime in actions, and an offset for
// each by offline interval packing, repeating where the order does. Nothing here knows a model;
// demands come in as bytes.
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/schedule/schedule.h"
#include "kernels/common/alignment.h"

namespace seq1f1b::schedule {

// What one chunk needs, in bytes: upper bounds over the micro-batches, by segment. An empty list
// asks for nothing.
struct ChunkDemand {
  // [lifetime][segment]; of a lifetime that spans a micro-batch one size alone.
  std::array<std::vector<std::size_t>, kLifetimes> stored;
  std::array<std::vector<std::size_t>, kKinds> workspace;  // [kind][segment]

  std::vector<std::size_t>& of(Lifetime lifetime) {
    return stored[static_cast<std::size_t>(lifetime)];
  }
  std::vector<std::size_t>& workspace_of(Kind kind) {
    return workspace[static_cast<std::size_t>(kind)];
  }
};

// Storage allotted to one unit, micro-batch or action, as its lifetime says.
struct Slot {
  Lifetime lifetime;
  Kind kind = Kind::kForward;                      // of its first action
  int chunk = 0, micro_batch = 0, segment = 0;     // segment 0 for micro-batch scope
  std::int32_t first_action = 0, last_action = 0;  // inclusive; kWorkspace: equal
  std::size_t bytes = 0;
  std::size_t offset = 0;
};

class MemoryPlan {
 public:
  std::span<const Slot> slots() const { return slots_; }
  std::size_t live_bytes() const { return live_; }      // largest sum of slots alive in one action
  std::size_t packed_bytes() const { return packed_; }  // arena size
  // Offset and size of a slot that the order contains; for kWorkspace, use workspace_of.
  const Slot& find(Lifetime lifetime, int chunk, Unit unit) const;
  const Slot& workspace_of(std::size_t action_index) const;
  // Actions with equal graph numbers are of one kind, chunk and segment, and find all of their
  // storage at the same offsets: they do the same work on other contents, so that a device can
  // capture one of them as a graph and replay it for the others. Numbered from 0 in the order in
  // which they first run.
  std::int32_t graph_of(std::size_t action_index) const;
  int graphs() const { return static_cast<int>(first_of_graph_.size()); }
  // Index of the action that first runs each graph, by graph.
  std::span<const std::size_t> first_of_graph() const { return first_of_graph_; }
  // Micro-batches after which places come again; see offsets.h.
  int period() const { return period_; }

 private:
  friend MemoryPlan plan_memory(const Schedule&, int, std::span<const ChunkDemand>, std::size_t);
  void number_graphs(const Schedule& schedule, const Order& order);

  std::vector<Slot> slots_;
  std::vector<std::int32_t> index_;      // dense (lifetime, chunk, micro_batch, segment) -> slot
  std::vector<std::int32_t> workspace_;  // action -> slot
  std::vector<std::int32_t> graph_of_action_;  // action -> graph
  std::vector<std::size_t> first_of_graph_;
  int period_ = 1;
  int micro_batches_ = 0, segments_ = 0;
  std::size_t live_ = 0, packed_ = 0;
};

// The slots of a rank's order without sizes and offsets: who lives from which action to which.
std::vector<Slot> slots_of(const Schedule& schedule, int rank);

// `demands` has one entry per chunk of `rank`. Offsets and sizes are multiples of `alignment`.
// Deterministic. Slots that overlap in time never overlap in space.
MemoryPlan plan_memory(const Schedule& schedule, int rank, std::span<const ChunkDemand> demands,
                       std::size_t alignment = kernels::kTensorAlignment);

}  // namespace seq1f1b::schedule
