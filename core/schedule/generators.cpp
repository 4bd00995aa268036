// The orders, one generator each. Source: METHOD section 2 (Sun et al., arXiv 2406.03488; 1F1B and
// GPipe are the cases of one segment). A new schedule is a function and a line in kGenerators; one
// with several chunks on a rank or a split backward has make_schedule place and split for it.
#include <algorithm>

#include "core/schedule/schedule.h"
#include "kernels/common/errors.h"

namespace seq1f1b::schedule {
namespace {

// Forwards take units first in, first out.
Action forward(const Spec& spec, int i) {
  return {Kind::kForward, 0, {i / spec.segments, i % spec.segments}};
}

// Backwards are first in, first out over micro-batches, last in, first out over segments. All
// schedules share this order, so they add up gradients alike and agree bit for bit.
Action backward(const Spec& spec, int i) {
  return {Kind::kBackward, 0, {i / spec.segments, spec.segments - 1 - i % spec.segments}};
}

// `warm_up` forwards, then a forward and a backward in turns, then the remaining backwards.
Order warm_up_then_alternate(const Spec& spec, int warm_up) {
  const int units = spec.micro_batches * spec.segments;
  Order order;
  order.reserve(2 * static_cast<std::size_t>(units));
  for (int i = 0; i < warm_up; ++i) order.push_back(forward(spec, i));
  for (int i = 0; i < units; ++i) {
    if (warm_up + i < units) order.push_back(forward(spec, warm_up + i));
    order.push_back(backward(spec, i));
  }
  return order;
}

// Covers 1F1B, which is the case of one segment.
Order seq1f1b_order(const Spec& spec, int rank) {
  const int units = spec.micro_batches * spec.segments;
  return warm_up_then_alternate(spec, std::min(spec.ranks - rank - 2 + spec.segments, units));
}

// Covers GPipe (one segment) and TeraPipe: all forwards, then all backwards.
Order all_forwards_first(const Spec& spec, int) {
  return warm_up_then_alternate(spec, spec.micro_batches * spec.segments);
}

Order forwards_only(const Spec& spec, int) {
  Order order;
  const int units = spec.micro_batches * spec.segments;
  order.reserve(static_cast<std::size_t>(units));
  for (int i = 0; i < units; ++i) order.push_back(forward(spec, i));
  return order;
}

struct Generator {
  const char* name;
  const char* with_segments;  // the schedule to take for more than one segment; itself if it can
  Order (*order)(const Spec&, int rank);
};

constexpr Generator kGenerators[] = {
    {"gpipe", "terapipe", all_forwards_first},       {"1f1b", "seq1f1b", seq1f1b_order},
    {"terapipe", "terapipe", all_forwards_first},    {"seq1f1b", "seq1f1b", seq1f1b_order},
    {"forward_only", "forward_only", forwards_only},
};

const Generator& find_generator(const std::string& name) {
  std::string names;
  for (const Generator& generator : kGenerators) {
    if (generator.name == name) return generator;
    names += concat(names.empty() ? "" : ", ", generator.name);
  }
  throw ConfigError(concat("schedule.name: no schedule is called '", name, "'; there are ", names));
}

void check_spec(const Spec& spec, const Generator& generator) {
  const auto at_least_one = [](const char* what, int value) {
    if (value < 1) throw ConfigError(concat(what, " = ", value, ", but must be at least 1"));
  };
  at_least_one("pipeline ranks", spec.ranks);
  at_least_one("chunks per rank", spec.chunks);
  at_least_one("micro-batches", spec.micro_batches);
  at_least_one("schedule.segments", spec.segments);
  if (spec.chunks > 1)
    throw ConfigError(concat("parallel.virtual_pipeline_model_parallel_size = ", spec.chunks,
                             ", but ", spec.name, " places one chunk on each rank: set it to 1"));
  if (spec.segments > 1 && generator.with_segments != spec.name)
    throw ConfigError(concat("schedule.segments = ", spec.segments, ", but ", spec.name,
                             " does not split sequences: set schedule.segments to 1, or "
                             "schedule.name to ",
                             generator.with_segments));
  // Indices of actions are 32 bits wide.
  constexpr std::int64_t kMostUnits = 1 << 24;
  if (std::int64_t{spec.micro_batches} * spec.segments > kMostUnits)
    throw ConfigError(concat("micro-batches * schedule.segments = ", spec.micro_batches, " * ",
                             spec.segments, " is more than the ", kMostUnits,
                             " units that a step may have: use fewer, larger micro-batches"));
}

}  // namespace

Schedule make_schedule(const Spec& spec) {
  const Generator& generator = find_generator(spec.name);
  check_spec(spec, generator);
  Schedule schedule{.spec = spec, .split_backward = false, .placement = {}, .orders = {}};
  for (int rank = 0; rank < spec.ranks; ++rank) {
    schedule.placement.push_back({rank});
    schedule.orders.push_back(generator.order(spec, rank));
  }
  return schedule;
}

std::vector<std::string> schedule_names() {
  std::vector<std::string> names;
  for (const Generator& generator : kGenerators) names.emplace_back(generator.name);
  return names;
}

}  // namespace seq1f1b::schedule
