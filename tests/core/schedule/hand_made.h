#pragma once
// Schedules that the program has no generator for, so that tests show that validator, plan and
// simulator know nothing but the action table.
#include <algorithm>

#include "core/schedule/schedule.h"

namespace seq1f1b::schedule {

// Seq1F1B on the order of handcrafted ZB-H1 (METHOD section 2): F(0..w-1); then for every i the
// next F if any is left, B(i), and from i = p on the oldest pending W; then the remaining W's.
inline Schedule zero_bubble(int ranks, int micro_batches, int segments) {
  const int units = micro_batches * segments;
  Schedule schedule{.spec = {"zb", ranks, 1, micro_batches, segments},
                    .split_backward = true,
                    .placement = {},
                    .orders = {}};
  for (int rank = 0; rank < ranks; ++rank) {
    Order order;
    int next_forward = 0, next_weight = 0;
    const auto forward = [&] {
      if (next_forward < units)
        order.push_back({Kind::kForward, 0, {next_forward / segments, next_forward % segments}});
      ++next_forward;
    };
    const auto reversed = [&](int i) { return Unit{i / segments, segments - 1 - i % segments}; };
    const auto weight = [&] { order.push_back({Kind::kWeightGrad, 0, reversed(next_weight++)}); };
    const int warm_up = std::min(ranks - rank - 2 + segments, units);
    while (next_forward < warm_up) forward();
    for (int i = 0; i < units; ++i) {
      forward();
      order.push_back({Kind::kBackward, 0, reversed(i)});
      if (i >= rank) weight();
    }
    while (next_weight < units) weight();
    schedule.placement.push_back({rank});
    schedule.orders.push_back(order);
  }
  return schedule;
}

// `chunks` stages per rank, dealt out in turns (rank p has stages p, p + P, ...): every micro-batch
// goes through all chunks before the next one begins, all forwards before all backwards. No edge is
// inside a rank.
inline Schedule interleaved(int ranks, int chunks, int micro_batches, int segments, bool trains) {
  Schedule schedule{.spec = {"interleaved", ranks, chunks, micro_batches, segments},
                    .split_backward = false,
                    .placement = {},
                    .orders = {}};
  for (int rank = 0; rank < ranks; ++rank) {
    Order order;
    const auto add = [&](Kind kind, int chunk, int micro_batch, int segment) {
      order.push_back({kind, static_cast<std::int16_t>(chunk), {micro_batch, segment}});
    };
    for (int m = 0; m < micro_batches; ++m)
      for (int chunk = 0; chunk < chunks; ++chunk)
        for (int s = 0; s < segments; ++s) add(Kind::kForward, chunk, m, s);
    for (int m = 0; trains && m < micro_batches; ++m)
      for (int chunk = chunks - 1; chunk >= 0; --chunk)
        for (int s = segments - 1; s >= 0; --s) add(Kind::kBackward, chunk, m, s);
    schedule.orders.push_back(order);
    std::vector<int>& stages = schedule.placement.emplace_back();
    for (int chunk = 0; chunk < chunks; ++chunk) stages.push_back(rank + chunk * ranks);
  }
  return schedule;
}

// Two chunks per rank in "V" placement (rank p has stages p and 2P-1-p), one micro-batch of
// `segments`, all forwards then all backwards: an edge inside the last rank is a hand-over.
inline Schedule v_placement(int ranks, int segments) {
  Schedule schedule{
      .spec = {"v", ranks, 2, 1, segments}, .split_backward = false, .placement = {}, .orders = {}};
  for (int rank = 0; rank < ranks; ++rank) {
    Order order;
    for (const int chunk : {0, 1})
      for (int s = 0; s < segments; ++s)
        order.push_back({Kind::kForward, static_cast<std::int16_t>(chunk), {0, s}});
    for (const int chunk : {1, 0})
      for (int s = segments - 1; s >= 0; --s)
        order.push_back({Kind::kBackward, static_cast<std::int16_t>(chunk), {0, s}});
    schedule.placement.push_back({rank, 2 * ranks - 1 - rank});
    schedule.orders.push_back(order);
  }
  return schedule;
}

}  // namespace seq1f1b::schedule
