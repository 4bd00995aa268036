// Evaluation: forwards alone, on any placement.
#include <algorithm>
#include <numeric>

#include "core/schedule/generators/generators.h"

namespace seq1f1b::schedule {

// In rounds of as many units as there are ranks: a rank takes the round on its first stage, then on
// its next. With fewer it would wait for the first unit to come round, with more it would hold
// more.
void forwards_only(Schedule& schedule) {
  const Spec& spec = schedule.spec;
  if (schedule.placement.empty()) place_looping(schedule);
  for (const std::vector<int>& stages : schedule.placement) {
    std::vector<int> chunks(stages.size());
    std::iota(chunks.begin(), chunks.end(), 0);
    std::ranges::sort(chunks, {},
                      [&](int chunk) { return stages[static_cast<std::size_t>(chunk)]; });
    Order& order = schedule.orders.emplace_back();
    order.reserve(chunks.size() * static_cast<std::size_t>(units_of(spec)));
    for (int first = 0; first < units_of(spec); first += spec.ranks)
      for (const int chunk : chunks)
        for (int i = first; i < std::min(first + spec.ranks, units_of(spec)); ++i)
          order.push_back(
              {Kind::kForward, static_cast<std::int16_t>(chunk), forward_unit(spec, i)});
  }
}

}  // namespace seq1f1b::schedule
