// ZB-H1 and Seq1F1B-ZB: 1F1B with the backward split, the weight gradients in what would be gaps.
// METHOD section 2:
//   F(0..w-1); for i = 0..T-1: the next F if any is left; B(i); if i >= p: the oldest pending W;
//   then the remaining Ws
#include <algorithm>

#include "core/schedule/generators/generators.h"

namespace seq1f1b::schedule {

void zero_bubble(Schedule& schedule) {
  const Spec& spec = schedule.spec;
  const int units = units_of(spec);
  place_looping(schedule);
  for (int rank = 0; rank < spec.ranks; ++rank) {
    Order& order = schedule.orders.emplace_back();
    int forwards = 0, weight_grads = 0;
    const auto forward = [&] {
      if (forwards < units) order.push_back({Kind::kForward, 0, forward_unit(spec, forwards++)});
    };
    const auto weight_grad = [&] {
      order.push_back({Kind::kWeightGrad, 0, backward_unit(spec, weight_grads++)});
    };
    const int warm_up = std::min(spec.ranks - rank - 2 + spec.segments, units);
    while (forwards < warm_up) forward();
    for (int i = 0; i < units; ++i) {
      forward();
      order.push_back({Kind::kBackward, 0, backward_unit(spec, i)});
      if (i >= rank) weight_grad();
    }
    while (weight_grads < units) weight_grad();
  }
}

}  // namespace seq1f1b::schedule
