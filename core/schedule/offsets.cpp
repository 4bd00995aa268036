#include "core/schedule/offsets.h"

#include <algorithm>
#include <array>
#include <map>

#include "core/schedule/packing.h"
#include "kernels/common/errors.h"

namespace seq1f1b::schedule {
namespace {

// Everything but the micro-batch.
using Role = std::array<int, 4>;
Role role_of(const Slot& slot) {
  return {static_cast<int>(slot.lifetime), static_cast<int>(slot.kind), slot.chunk, slot.segment};
}

// Periods tried above the least possible one. The excess falls quickly at first: what does not fit
// within so many does not fit with a few more.
constexpr int kMostPeriods = 12;

// Slots by role, in the order of their micro-batches.
std::map<Role, std::vector<const Slot*>> by_role(std::span<const Slot> slots) {
  std::map<Role, std::vector<const Slot*>> roles;
  for (const Slot& slot : slots) roles[role_of(slot)].push_back(&slot);
  for (auto& [role, members] : roles)
    std::ranges::sort(members, {}, [](const Slot* slot) { return slot->micro_batch; });
  return roles;
}

// Whether two slots of a role that are a multiple of `period` micro-batches apart never live at
// the same time.
bool may_repeat(const std::map<Role, std::vector<const Slot*>>& roles, int period) {
  for (const auto& [role, members] : roles) {
    std::vector<std::pair<std::int32_t, std::int32_t>> lives;
    for (int first = 0; first < period && first < static_cast<int>(members.size()); ++first) {
      lives.clear();
      for (auto at = static_cast<std::size_t>(first); at < members.size();
           at += static_cast<std::size_t>(period))
        lives.emplace_back(members[at]->first_action, members[at]->last_action);
      std::ranges::sort(lives);
      for (std::size_t i = 1; i < lives.size(); ++i)
        if (lives[i].first <= lives[i - 1].second) return false;
    }
  }
  return true;
}

// Numbers of places, without gaps, in the order in which the slots open.
std::vector<std::int32_t> places_of(std::span<const Slot> slots, int period) {
  std::map<std::pair<Role, int>, std::int32_t> numbers;
  std::vector<std::int32_t> places;
  places.reserve(slots.size());
  for (const Slot& slot : slots) {
    const auto next = static_cast<std::int32_t>(numbers.size());
    places.push_back(
        numbers.try_emplace({role_of(slot), slot.micro_batch % period}, next).first->second);
  }
  return places;
}

}  // namespace

SlotOffsets offsets_of(std::span<const Slot> slots, int micro_batches) {
  SEQ1F1B_ASSERT(micro_batches >= 1, "micro-batches: ", micro_batches);
  std::vector<Interval> intervals;
  intervals.reserve(slots.size());
  for (const Slot& slot : slots)
    intervals.push_back({slot.first_action, slot.last_action, slot.bytes});
  const auto limit = kPeriodicExcess * static_cast<double>(live_maximum(intervals));
  const auto roles = by_role(slots);

  SlotOffsets best;
  const auto attempt = [&](int period) {
    const std::vector<std::int32_t> places = places_of(slots, period);
    const Packing packing = pack(intervals, places);
    if (!best.offsets.empty() && packing.bytes >= best.bytes) return;
    best = {.period = period, .offsets = {}, .bytes = packing.bytes};
    for (const std::int32_t place : places)
      best.offsets.push_back(packing.offsets[static_cast<std::size_t>(place)]);
  };
  int period = 1;
  while (period < micro_batches && !may_repeat(roles, period)) ++period;
  for (int tried = 0; tried < kMostPeriods && period < micro_batches; ++tried, ++period) {
    attempt(period);
    if (static_cast<double>(best.bytes) <= limit) return best;
  }
  attempt(micro_batches);
  return best;
}

}  // namespace seq1f1b::schedule
