#pragma once
// Offsets for the slots of a memory plan that repeat as the order does. A device that captures an
// action as a graph and replays it later (kernels/device.h) keeps the addresses in it: an action of
// micro-batch m + period must find its storage where micro-batch m had it, or needs a graph of its
// own.
#include <cstddef>
#include <span>
#include <vector>

#include "core/schedule/memory_plan.h"

namespace seq1f1b::schedule {

struct SlotOffsets {
  // Slots of micro-batches that differ by a multiple of it share places; the number of
  // micro-batches when each has its own.
  int period = 1;
  std::vector<std::size_t> offsets;  // of every slot
  std::size_t bytes = 0;
};

// The smallest period that costs at most kPeriodicExcess over the live maximum, or the period that
// costs least where none does, e.g. where all micro-batches are alive at once (GPipe).
// Deterministic; once the order repeats itself, more micro-batches change neither period nor
// offsets.
inline constexpr double kPeriodicExcess = 1.10;
SlotOffsets offsets_of(std::span<const Slot> slots, int micro_batches);

}  // namespace seq1f1b::schedule
