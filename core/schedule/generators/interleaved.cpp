// 1F1B-I and Seq1F1B-I: several chunks per rank in looping placement. A rank takes its forwards in
// rounds: G units of chunk 0, the same G units of chunk 1, and so on; its backwards likewise, from
// the last chunk. METHOD section 2:
//   w = min((v - 1) G + 2 (P - p - 1) + k - 1, M k v)
//   the i-th forward belongs to chunk (i mod G v) div G, the i-th backward to v - 1 - that;
//   the j-th forward of a chunk is unit (j div k, j mod k),
//   the j-th backward (j div k, k-1 - j mod k)
// with the group G = k ceil(P / k): whole micro-batches, at least as many units as there are ranks.
#include <algorithm>

#include "core/schedule/generators/generators.h"
#include "kernels/common/errors.h"

namespace seq1f1b::schedule {
namespace {

// The last group would be cut short, and with it the rounds of the chunks.
void check_groups(const Spec& spec, int batches_per_group) {
  if (spec.micro_batches % batches_per_group == 0) return;
  const int below = spec.micro_batches / batches_per_group * batches_per_group;
  std::string advice = concat("use ", below > 0 ? concat(below, " or ") : "",
                              below + batches_per_group, " micro-batches");
  if (spec.name != "interleaved") {
    // The nearest k whose groups the micro-batches fill; P does, since its groups are one of them.
    const auto fills = [&](int k) {
      return k >= 1 && spec.micro_batches % ((spec.ranks + k - 1) / k) == 0;
    };
    for (int distance = 1;; ++distance)
      if (fills(spec.segments - distance) || fills(spec.segments + distance)) {
        advice += concat(", or schedule.segments = ",
                         spec.segments + (fills(spec.segments + distance) ? distance : -distance));
        break;
      }
  }
  throw ConfigError(concat("schedule.name = ", spec.name, " with ", spec.ranks,
                           " pipeline ranks and schedule.segments = ", spec.segments,
                           " takes micro-batches in groups of ", batches_per_group,
                           ", but there are ", spec.micro_batches,
                           " (global_batch_size / micro_batch_size / data "
                           "parallel size): ",
                           advice));
}

}  // namespace

void interleaved(Schedule& schedule) {
  const Spec& spec = schedule.spec;
  const int segments = spec.segments, chunks = spec.chunks;
  const int batches_per_group = (spec.ranks + segments - 1) / segments;
  check_groups(spec, batches_per_group);
  place_looping(schedule);

  const int group = batches_per_group * segments, round = group * chunks;
  // What the last rank sends back to the first waits there until that has done its group of the
  // chunk before: the first is a pipe's length ahead.
  schedule.depth.receive_buffers = std::max(schedule.depth.receive_buffers, group - spec.ranks);
  const int count = units_of(spec) * chunks;
  const auto chunk_of = [&](int i) { return i % round / group; };
  const auto unit_of_chunk = [&](int i) { return i / round * group + i % group; };
  for (int rank = 0; rank < spec.ranks; ++rank) {
    const int warm_up =
        std::min((chunks - 1) * group + 2 * (spec.ranks - rank - 1) + segments - 1, count);
    schedule.orders.push_back(warm_up_then_alternate(
        count, warm_up,
        [&](int i) {
          return Action{Kind::kForward, static_cast<std::int16_t>(chunk_of(i)),
                        forward_unit(spec, unit_of_chunk(i))};
        },
        [&](int i) {
          return Action{Kind::kBackward, static_cast<std::int16_t>(chunks - 1 - chunk_of(i)),
                        backward_unit(spec, unit_of_chunk(i))};
        }));
  }
}

}  // namespace seq1f1b::schedule
