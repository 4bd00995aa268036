// Orders with one chunk per rank and whole backwards: GPipe, TeraPipe, 1F1B, Seq1F1B.
#include <algorithm>

#include "core/schedule/generators/generators.h"

namespace seq1f1b::schedule {
namespace {

template <class WarmUp>  // forwards of a rank before its first backward
void generate(Schedule& schedule, const WarmUp& warm_up) {
  const Spec& spec = schedule.spec;
  place_looping(schedule);
  for (int rank = 0; rank < spec.ranks; ++rank)
    schedule.orders.push_back(warm_up_then_alternate(
        units_of(spec), warm_up(rank),
        [&](int i) {
          return Action{Kind::kForward, 0, forward_unit(spec, i)};
        },
        [&](int i) {
          return Action{Kind::kBackward, 0, backward_unit(spec, i)};
        }));
}

}  // namespace

void one_forward_one_backward(Schedule& schedule) {
  const Spec& spec = schedule.spec;
  generate(schedule, [&](int rank) {
    return std::min(spec.ranks - rank - 2 + spec.segments, units_of(spec));
  });
}

void all_forwards_first(Schedule& schedule) {
  generate(schedule, [&](int) { return units_of(schedule.spec); });
}

}  // namespace seq1f1b::schedule
