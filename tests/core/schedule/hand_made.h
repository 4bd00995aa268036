#pragma once
// Schedules for tests, also such that the program has no generator for: validator, plan, simulator
// and runtime know nothing but the action table.
#include <algorithm>

#include "core/schedule/catalogue.h"
#include "core/schedule/schedule.h"

namespace seq1f1b::schedule {

inline Schedule zero_bubble(int ranks, int micro_batches, int segments) {
  return make_schedule({"seq1f1b-zb", ranks, 1, micro_batches, segments});
}

// A spec of a schedule of the catalogue near these sizes: with the chunks that it needs, without
// segments where it has none, and with enough micro-batches for its groups.
inline Spec legal_spec(const CatalogueEntry& entry, int ranks, int micro_batches, int segments) {
  Spec spec{entry.name, ranks, entry.least_chunks, micro_batches,
            entry.splits_sequences() ? segments : 1};
  if (spec.chunks > 1) {
    const int group = (ranks + spec.segments - 1) / spec.segments;
    spec.micro_batches = (micro_batches + group - 1) / group * group;
  }
  return spec;
}

// `chunks` stages per rank, dealt out in turns (rank p has stages p, p + P, ...): every micro-batch
// goes through all chunks before the next one begins, all forwards before all backwards. No edge is
// inside a rank.
inline Schedule dealt_chunks(int ranks, int chunks, int micro_batches, int segments, bool trains) {
  Schedule schedule{.spec = {"dealt chunks", ranks, chunks, micro_batches, segments},
                    .features = trains ? FeatureSet{Feature::kBackward} : FeatureSet{},
                    .depth = {},
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
  Schedule schedule{.spec = {"v", ranks, 2, 1, segments},
                    .features = {Feature::kBackward},
                    .depth = {},
                    .placement = {},
                    .orders = {}};
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
