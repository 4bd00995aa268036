#include "core/schedule/placement.h"

#include <algorithm>
#include <array>
#include <map>

#include "core/schedule/packing.h"
#include "kernels/common/errors.h"

namespace seq1f1b::schedule {
namespace {

// Everything but the micro-batch.
using Role = std::array<int, 4>;
Role role_of(const Block& block) {
  return {static_cast<int>(block.lifetime), static_cast<int>(block.kind), block.chunk,
          block.segment};
}

// Periods tried above the least possible one. The excess falls quickly at first: what does not fit
// within so many does not fit with a few more.
constexpr int kMostPeriods = 12;

// Blocks by role, in the order of their micro-batches.
std::map<Role, std::vector<const Block*>> by_role(std::span<const Block> blocks) {
  std::map<Role, std::vector<const Block*>> roles;
  for (const Block& block : blocks) roles[role_of(block)].push_back(&block);
  for (auto& [role, members] : roles)
    std::ranges::sort(members, {}, [](const Block* block) { return block->micro_batch; });
  return roles;
}

// Whether two blocks of a role that are a multiple of `period` micro-batches apart never live at
// the same time.
bool may_repeat(const std::map<Role, std::vector<const Block*>>& roles, int period) {
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

// Numbers of places, without gaps, in the order in which the blocks open.
std::vector<std::int32_t> places_of(std::span<const Block> blocks, int period) {
  std::map<std::pair<Role, int>, std::int32_t> numbers;
  std::vector<std::int32_t> places;
  places.reserve(blocks.size());
  for (const Block& block : blocks) {
    const auto next = static_cast<std::int32_t>(numbers.size());
    places.push_back(
        numbers.try_emplace({role_of(block), block.micro_batch % period}, next).first->second);
  }
  return places;
}

}  // namespace

Placement place_blocks(std::span<const Block> blocks, int micro_batches) {
  SEQ1F1B_ASSERT(micro_batches >= 1, "micro-batches: ", micro_batches);
  std::vector<Interval> intervals;
  intervals.reserve(blocks.size());
  for (const Block& block : blocks)
    intervals.push_back({block.first_action, block.last_action, block.bytes});
  const auto limit = kPeriodicExcess * static_cast<double>(live_maximum(intervals));
  const auto roles = by_role(blocks);

  Placement best;
  const auto attempt = [&](int period) {
    const std::vector<std::int32_t> places = places_of(blocks, period);
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
