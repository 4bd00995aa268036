#pragma once
// When every action of a schedule starts and ends, and the bubble: on a cost model, where
// communication is free, or as measured. Source of the definition of bubble: 1 - busy / (P *
// makespan).
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/schedule/partition.h"
#include "core/schedule/schedule.h"

namespace seq1f1b::simulate {

// Duration of an action of a stage; any unit of time.
using Cost = std::function<double(const schedule::Action& action, int stage)>;

// Unit costs of the action table: F 1, B 2 (split: F, B, W 1).
Cost unit_cost(const schedule::Schedule& schedule);

// FLOPs of the layers of a stage: what a token costs in its linear layers and what a visible
// (query, key) pair costs in attention, forward and backward (4 d and 10 d per head and layer).
struct StageFlops {
  double linear_forward = 0, linear_backward = 0;        // per token
  double attention_forward = 0, attention_backward = 0;  // per visible pair
  // Extra work per token of the last stage's head. In training all of it, its forward included, is
  // head_backward and happens in the backward; a schedule of forwards alone does head_forward.
  double head_forward = 0, head_backward = 0;
};
Cost flops_cost(const schedule::Schedule& schedule, std::vector<StageFlops> stages,
                std::vector<std::int64_t> segment_lengths, int micro_batch_size);

struct Timeline {
  struct Span {
    double start = 0, end = 0;
  };
  std::vector<std::vector<Span>> spans;  // [rank][index in order]
  double makespan = 0;
  double bubble = 0;         // 1 - busy / (ranks * makespan)
  std::vector<double> idle;  // per rank, within the makespan
};
// From the spans of every rank, in the order of its actions, on one clock that starts at 0: the
// makespan and the bubble count every rank from 0 to the last end of all.
Timeline timeline_of(std::vector<std::vector<Timeline::Span>> spans);
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
