#pragma once
// One generator per file. Each gets a schedule with spec and features and fills in its placement
// and its orders. Source: METHOD section 2 (Sun et al., arXiv 2406.03488); k = 1 gives the orders
// that were known before.
#include "core/schedule/schedule.h"

namespace seq1f1b::schedule {

void all_forwards_first(Schedule& schedule);        // GPipe, TeraPipe
void one_forward_one_backward(Schedule& schedule);  // 1F1B, Seq1F1B
void interleaved(Schedule& schedule);               // 1F1B-I, Seq1F1B-I
void zero_bubble(Schedule& schedule);               // ZB-H1, Seq1F1B-ZB
// Evaluation; on the placement that the schedule has, looping if it has none.
void forwards_only(Schedule& schedule);

// Stage c * P + p is chunk c of rank p: activations go round the ranks once for every chunk. With
// one chunk this is the plain pipeline.
void place_looping(Schedule& schedule);

// The units of a step in the orders that all schedules share, so that they add up gradients alike
// and agree bit for bit: forwards are first in, first out; backwards are that over micro-batches
// and last in, first out over segments.
inline int units_of(const Spec& spec) { return spec.micro_batches * spec.segments; }
inline Unit forward_unit(const Spec& spec, int i) { return {i / spec.segments, i % spec.segments}; }
inline Unit backward_unit(const Spec& spec, int i) {
  return {i / spec.segments, spec.segments - 1 - i % spec.segments};
}

// `warm_up` forwards, then a forward and a backward in turns, then the remaining backwards; the
// i-th forward and the i-th backward of `count` are what the two functions say.
template <class Forward, class Backward>
Order warm_up_then_alternate(int count, int warm_up, const Forward& forward,
                             const Backward& backward) {
  Order order;
  order.reserve(2 * static_cast<std::size_t>(count));
  for (int i = 0; i < warm_up; ++i) order.push_back(forward(i));
  for (int i = 0; i < count; ++i) {
    if (warm_up + i < count) order.push_back(forward(warm_up + i));
    order.push_back(backward(i));
  }
  return order;
}

}  // namespace seq1f1b::schedule
