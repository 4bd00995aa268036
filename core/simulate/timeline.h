#pragma once
// When every action of a schedule starts and ends, and the bubble: on a cost model, where
// communication is free, or as measured. Source of the definition of bubble: 1 - busy / (P *
// makespan).
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/schedule/execute.h"
#include "core/schedule/schedule.h"

namespace seq1f1b::simulate {

// Duration of an action of a stage; any unit of time.
using Cost = std::function<double(const schedule::Action& action, int stage)>;

// Unit costs of the action table: F 1, B 2; with a split backward F, B and W 1.
Cost unit_cost(const schedule::Schedule& schedule);

using schedule::Span;

struct Timeline {
  std::vector<std::vector<Span>> spans;  // [rank][index in order]
  double makespan = 0;
  double bubble = 0;         // 1 - busy / (ranks * makespan)
  std::vector<double> idle;  // per rank, within the makespan
};
// From the spans of every rank, in the order of its actions, on one clock that starts at 0: the
// makespan and the bubble count every rank from 0 to the last end of all.
Timeline timeline_of(std::vector<std::vector<Span>> spans);
// The schedule must be valid.
Timeline simulate(const schedule::Schedule& schedule, const Cost& cost);

// Peak of live units per rank: forwards whose activations are still needed, by a backward or, where
// it is split, by a weight gradient. Units of different chunks count apart.
std::vector<int> peak_live_units(const schedule::Schedule& schedule);
// Peak of live tokens in micro-batches: tokens of live units / tokens of a sequence.
std::vector<double> peak_live_micro_batches(const schedule::Schedule& schedule,
                                            const std::vector<std::int64_t>& segment_lengths);

// A picture: one row per rank, one box per action, labelled, with title, legend, axis and the
// bubble.
std::string to_svg(const schedule::Schedule& schedule, const Timeline& timeline,
                   const std::string& title);

}  // namespace seq1f1b::simulate
