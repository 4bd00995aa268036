#include "core/simulate/timeline.h"

#include <algorithm>
#include <numeric>

#include "core/schedule/memory_plan.h"
#include "core/schedule/packing.h"
#include "core/schedule/validate.h"
#include "kernels/common/errors.h"

namespace seq1f1b::simulate {
namespace {

using schedule::Schedule;

// Largest sum of the weights of live units, per rank.
std::vector<std::size_t> peaks(const Schedule& schedule,
                               const std::vector<std::int64_t>& weight_of_segment) {
  std::vector<std::size_t> result;
  for (int rank = 0; rank < schedule.spec.ranks; ++rank) {
    std::vector<schedule::Interval> units;
    for (const schedule::Slot& slot : schedule::slots_of(schedule, rank))
      if (slot.lifetime == schedule::Lifetime::kActivations)
        units.push_back(
            {slot.first_action, slot.last_action,
             static_cast<std::size_t>(weight_of_segment[static_cast<std::size_t>(slot.segment)])});
    result.push_back(schedule::live_maximum(units));
  }
  return result;
}

}  // namespace

Timeline simulate(const Schedule& schedule, const Cost& cost) {
  SEQ1F1B_ASSERT(schedule::validate(schedule).empty(), "the schedule is not valid");
  schedule::Execution execution =
      schedule::execute(schedule, {.duration = cost, .delay = {}, .depth = {}});
  return timeline_of(std::move(execution.spans));
}

Timeline timeline_of(std::vector<std::vector<Span>> spans) {
  Timeline timeline;
  timeline.spans = std::move(spans);
  std::vector<double> busy;
  for (const std::vector<Span>& of_rank : timeline.spans) {
    double time = 0;
    for (const Span& span : of_rank) {
      time += span.end - span.start;
      timeline.makespan = std::max(timeline.makespan, span.end);
    }
    busy.push_back(time);
  }
  for (const double time : busy) timeline.idle.push_back(timeline.makespan - time);
  const double total = static_cast<double>(busy.size()) * timeline.makespan;
  if (total > 0) timeline.bubble = 1 - std::accumulate(busy.begin(), busy.end(), 0.0) / total;
  return timeline;
}

std::vector<int> peak_live_units(const Schedule& schedule) {
  std::vector<int> result;
  for (const std::size_t units :
       peaks(schedule,
             std::vector<std::int64_t>(static_cast<std::size_t>(schedule.spec.segments), 1)))
    result.push_back(static_cast<int>(units));
  return result;
}

std::vector<double> peak_live_micro_batches(const Schedule& schedule,
                                            const std::vector<std::int64_t>& segment_lengths) {
  SEQ1F1B_ASSERT(segment_lengths.size() == static_cast<std::size_t>(schedule.spec.segments),
                 "one length per segment");
  const std::int64_t tokens =
      std::accumulate(segment_lengths.begin(), segment_lengths.end(), std::int64_t{0});
  std::vector<double> result;
  // A unit of one chunk holds the activations of 1 / chunks of the rank's layers.
  for (const std::size_t peak : peaks(schedule, segment_lengths))
    result.push_back(static_cast<double>(peak) / static_cast<double>(tokens) /
                     schedule.spec.chunks);
  return result;
}

}  // namespace seq1f1b::simulate
