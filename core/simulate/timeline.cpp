#include "core/simulate/timeline.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "kernels/common/errors.h"

namespace seq1f1b::simulate {
namespace {

using schedule::Action;
using schedule::Dependency;
using schedule::Kind;
using schedule::Schedule;

constexpr double kNotYet = -1;

// When every action of the step has ended, found by (stage, kind, unit).
class Ends {
 public:
  explicit Ends(const Schedule& schedule)
      : schedule_(schedule),
        segments_(static_cast<std::size_t>(schedule.spec.segments)),
        units_(static_cast<std::size_t>(schedule.spec.micro_batches) * segments_),
        ends_(static_cast<std::size_t>(schedule.stages()) * schedule::kKinds * units_, kNotYet) {}

  double& at(int stage, Kind kind, schedule::Unit unit) {
    const auto row =
        static_cast<std::size_t>(stage) * schedule::kKinds + static_cast<std::size_t>(kind);
    return ends_[row * units_ + static_cast<std::size_t>(unit.micro_batch) * segments_ +
                 static_cast<std::size_t>(unit.segment)];
  }

  // When all that the action needs has ended; kNotYet if something has not been reached.
  double ready(const Action& action, int stage) {
    double latest = 0;
    for (const Dependency& dependency : schedule::row_of(action.kind).dependencies) {
      const auto needed = schedule::needed_for(schedule_, dependency, stage, action.unit);
      if (!needed) continue;
      const double end = at(needed->stage, dependency.kind, needed->unit);
      if (end == kNotYet) return kNotYet;
      latest = std::max(latest, end);
    }
    return latest;
  }

 private:
  const Schedule& schedule_;
  std::size_t segments_, units_;
  std::vector<double> ends_;
};

// A unit lives from its forward to the last of the kinds that use its activations.
Kind last_use_of_unit(const Schedule& schedule) {
  const auto kinds = schedule::kinds_of(schedule);
  const schedule::LifetimeRow& row = schedule::row_of(schedule::Lifetime::kActivations);
  Kind last = row.opened_by;
  for (const schedule::KindRow& kind : schedule::action_table()) {
    const auto index = static_cast<std::size_t>(kind.kind);
    if (row.used_by[index] && kinds[index]) last = kind.kind;
  }
  return last;
}

// Largest sum of the weights of live units, per rank.
template <class Weight>
std::vector<Weight> peaks(const Schedule& schedule, const std::vector<Weight>& weight_of_segment) {
  const Kind first = schedule::row_of(schedule::Lifetime::kActivations).opened_by;
  const Kind last = last_use_of_unit(schedule);
  std::vector<Weight> result;
  for (const schedule::Order& order : schedule.orders) {
    Weight live{}, peak{};
    for (const Action& action : order) {
      const Weight weight = weight_of_segment[static_cast<std::size_t>(action.unit.segment)];
      if (action.kind == first) peak = std::max(peak, live += weight);
      if (action.kind == last) live -= weight;
    }
    result.push_back(peak);
  }
  return result;
}

}  // namespace

Timeline simulate(const Schedule& schedule, const Cost& cost) {
  const std::size_t ranks = schedule.orders.size();
  Timeline timeline;
  timeline.spans.resize(ranks);
  std::vector<double> free_from(ranks);
  Ends ends(schedule);

  // Every rank goes as far as it can, in turn, until all are through.
  bool progress = true;
  while (progress) {
    progress = false;
    for (std::size_t rank = 0; rank < ranks; ++rank) {
      const schedule::Order& order = schedule.orders[rank];
      std::vector<Timeline::Span>& spans = timeline.spans[rank];
      while (spans.size() < order.size()) {
        const Action& action = order[spans.size()];
        const int stage = schedule::stage_of(schedule, rank, action);
        const double ready = ends.ready(action, stage);
        if (ready == kNotYet) break;
        const double duration = cost(action, stage);
        SEQ1F1B_ASSERT(duration >= 0, to_string(action), " takes ", duration);
        const double start = std::max(free_from[rank], ready);
        free_from[rank] = start + duration;
        ends.at(stage, action.kind, action.unit) = free_from[rank];
        spans.push_back({start, free_from[rank]});
        progress = true;
      }
    }
  }
  for (std::size_t rank = 0; rank < ranks; ++rank)
    SEQ1F1B_ASSERT(timeline.spans[rank].size() == schedule.orders[rank].size(),
                   "the schedule is not valid: rank ", rank, " stops at action ",
                   timeline.spans[rank].size());

  return timeline_of(std::move(timeline.spans));
}

Timeline timeline_of(std::vector<std::vector<Timeline::Span>> spans) {
  Timeline timeline;
  timeline.spans = std::move(spans);
  std::vector<double> busy;
  for (const std::vector<Timeline::Span>& of_rank : timeline.spans) {
    double time = 0;
    for (const Timeline::Span& span : of_rank) {
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
  return peaks(schedule, std::vector<int>(static_cast<std::size_t>(schedule.spec.segments), 1));
}

std::vector<double> peak_live_micro_batches(const Schedule& schedule,
                                            const std::vector<std::int64_t>& segment_lengths) {
  SEQ1F1B_ASSERT(segment_lengths.size() == static_cast<std::size_t>(schedule.spec.segments),
                 "one length per segment");
  const std::int64_t tokens =
      std::accumulate(segment_lengths.begin(), segment_lengths.end(), std::int64_t{0});
  std::vector<double> result;
  // A unit of one chunk holds the activations of 1 / chunks of the rank's layers.
  for (const std::int64_t peak : peaks(schedule, segment_lengths))
    result.push_back(static_cast<double>(peak) / static_cast<double>(tokens) /
                     schedule.spec.chunks);
  return result;
}

}  // namespace seq1f1b::simulate
