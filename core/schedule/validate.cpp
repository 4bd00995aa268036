// The validator. It reads nothing but the action table: which kinds there are, what they need, what
// they send and in which order they want the segments. It has no idea of any particular schedule.
#include "core/schedule/validate.h"

#include <algorithm>

#include "core/schedule/execute.h"
#include "kernels/common/errors.h"

namespace seq1f1b::schedule {
namespace {

constexpr std::size_t kMostViolations = 8;  // of the first broken rule; one fault often shows often
constexpr std::int32_t kAbsent = -1;

std::string place(int rank, std::size_t index, const Action& action) {
  return concat("rank ", rank, ", action ", index, " (", to_string(action), "): ");
}

class Validator {
 public:
  explicit Validator(const Schedule& schedule) : schedule_(schedule), depth_(schedule.depth) {}

  std::vector<Violation> run() {
    // Each rule may rely on those before it.
    using Check = void (Validator::*)();
    for (const Check check : {&Validator::check_placement, &Validator::check_index_range,
                              &Validator::check_once, &Validator::check_missing,
                              &Validator::check_dependencies, &Validator::check_segment_order,
                              &Validator::check_channel_order, &Validator::check_deadlock}) {
      (this->*check)();
      if (!violations_.empty()) break;
    }
    return std::move(violations_);
  }

 private:
  template <class... Parts>
  void report(Rule rule, std::size_t rank, std::size_t index, const Parts&... parts) {
    if (violations_.size() < kMostViolations)
      violations_.push_back({rule, static_cast<int>(rank), index, concat(parts...)});
  }
  template <class... Parts>
  void report_action(Rule rule, std::size_t rank, std::size_t index, const Parts&... parts) {
    const Action& action = schedule_.orders[rank][index];
    report(rule, rank, index, place(static_cast<int>(rank), index, action), parts...);
  }
  template <class Visit>  // (rank, index, action)
  void for_each_action(const Visit& visit) const {
    for (std::size_t rank = 0; rank < schedule_.orders.size(); ++rank) {
      const Order& order = schedule_.orders[rank];
      for (std::size_t index = 0; index < order.size(); ++index) visit(rank, index, order[index]);
    }
  }

  // Dense number of an action of the step.
  std::size_t number(int stage, Kind kind, Unit unit) const {
    return (static_cast<std::size_t>(stage) * kKinds + static_cast<std::size_t>(kind)) * units_ +
           static_cast<std::size_t>(unit.micro_batch) * segments_ +
           static_cast<std::size_t>(unit.segment);
  }

  void check_placement();
  void check_index_range();
  void check_once();
  void check_missing();
  void check_dependencies();
  void check_segment_order();
  void check_channel_order();
  void check_deadlock();

  const Schedule& schedule_;
  const ChannelDepth depth_;
  std::vector<Violation> violations_;
  std::size_t segments_ = 0, units_ = 0;
  std::vector<int> rank_of_stage_;
  std::vector<std::int32_t> position_;  // number -> index in the order of the stage's rank
};

// Every stage is on one rank, and every rank has an order.
void Validator::check_placement() {
  const Spec& spec = schedule_.spec;
  const auto wrong = [&](int rank, const auto&... parts) {
    report(Rule::kPlacement, static_cast<std::size_t>(rank), 0, "placement: ", parts...);
  };
  if (spec.ranks < 1 || spec.chunks < 1 || spec.micro_batches < 1 || spec.segments < 1)
    return wrong(0, "ranks, chunks, micro-batches and segments must be positive");
  const auto ranks = static_cast<std::size_t>(spec.ranks);
  if (schedule_.placement.size() != ranks || schedule_.orders.size() != ranks)
    return wrong(0, "there are ", spec.ranks, " ranks, but stages for ", schedule_.placement.size(),
                 " and orders for ", schedule_.orders.size());
  rank_of_stage_.assign(static_cast<std::size_t>(schedule_.stages()), kAbsent);
  for (int rank = 0; rank < spec.ranks; ++rank) {
    const std::vector<int>& stages = schedule_.placement[static_cast<std::size_t>(rank)];
    if (stages.size() != static_cast<std::size_t>(spec.chunks))
      return wrong(rank, "rank ", rank, " has ", stages.size(), " stages, but must have ",
                   spec.chunks);
    for (const int stage : stages) {
      if (stage < 0 || stage >= schedule_.stages())
        return wrong(rank, "rank ", rank, " has stage ", stage, ", but stages run from 0 to ",
                     schedule_.stages() - 1);
      int& owner = rank_of_stage_[static_cast<std::size_t>(stage)];
      if (owner != kAbsent)
        return wrong(rank, "stage ", stage, " is on rank ", owner, " and again on rank ", rank);
      owner = rank;
    }
  }
}

void Validator::check_index_range() {
  const Spec& spec = schedule_.spec;
  const auto check = [&](std::size_t rank, std::size_t index, const char* what, int value,
                         int count) {
    if (value < 0 || value >= count)
      report(Rule::kIndexRange, rank, index, "rank ", rank, ", action ", index, ": ", what, " ",
             value, " does not exist; there are ", count, ", counted from 0");
  };
  for_each_action([&](std::size_t rank, std::size_t index, const Action& action) {
    const auto below = [](int value, int count) {
      return static_cast<unsigned>(value) < static_cast<unsigned>(count);
    };
    if (below(static_cast<int>(action.kind), kKinds) && below(action.chunk, spec.chunks) &&
        below(action.unit.micro_batch, spec.micro_batches) &&
        below(action.unit.segment, spec.segments))
      return;
    check(rank, index, "kind", static_cast<int>(action.kind), kKinds);
    check(rank, index, "chunk", action.chunk, spec.chunks);
    check(rank, index, "micro-batch", action.unit.micro_batch, spec.micro_batches);
    check(rank, index, "segment", action.unit.segment, spec.segments);
  });
}

// Fills position_, which all later rules read.
void Validator::check_once() {
  segments_ = static_cast<std::size_t>(schedule_.spec.segments);
  units_ = static_cast<std::size_t>(schedule_.spec.micro_batches) * segments_;
  position_.assign(static_cast<std::size_t>(schedule_.stages()) * kKinds * units_, kAbsent);
  for_each_action([&](std::size_t rank, std::size_t index, const Action& action) {
    std::int32_t& position =
        position_[number(stage_of(schedule_, rank, action), action.kind, action.unit)];
    if (position != kAbsent)
      report_action(Rule::kOnce, rank, index, "the same action has run already as action ",
                    position);
    position = static_cast<std::int32_t>(index);
    if (!schedule_.has(action.kind)) {
      const KindRow& row = row_of(action.kind);
      report_action(Rule::kOnce, rank, index, "this schedule has no ", row.name, " actions",
                    row.absorbed_by
                        ? concat(": its ", row_of(*row.absorbed_by).name, " does that work already")
                        : std::string());
    }
  });
}

void Validator::check_missing() {
  for (int stage = 0; stage < schedule_.stages(); ++stage)
    for (const KindRow& row : action_table()) {
      if (!schedule_.has(row.kind)) continue;
      const auto begin =
          position_.begin() + static_cast<std::ptrdiff_t>(number(stage, row.kind, {}));
      const auto end = begin + static_cast<std::ptrdiff_t>(units_);
      for (auto it = std::find(begin, end, kAbsent); it != end;
           it = std::find(it + 1, end, kAbsent)) {
        const auto unit = static_cast<std::size_t>(it - begin);
        const Place owner = place_of_stage(schedule_, stage);
        const Action action{row.kind,
                            static_cast<std::int16_t>(owner.chunk),
                            {static_cast<std::int32_t>(unit / segments_),
                             static_cast<std::int32_t>(unit % segments_)}};
        const auto rank = static_cast<std::size_t>(owner.rank);
        report(Rule::kMissing, rank, schedule_.orders[rank].size(), "rank ", rank, ": ",
               to_string(action), " is missing; the step needs the ", row.name,
               " of every unit on stage ", stage);
      }
    }
}

// What a rank needs of itself must come earlier in its own order.
void Validator::check_dependencies() {
  for_each_action([&](std::size_t rank, std::size_t index, const Action& action) {
    const int stage = stage_of(schedule_, rank, action);
    for (const Dependency& dependency : row_of(action.kind).dependencies) {
      const auto needed = needed_for(schedule_, dependency, stage, action.unit);
      if (!needed || needed->unit != action.unit) continue;  // segments are check_segment_order's
      if (rank_of_stage_[static_cast<std::size_t>(needed->stage)] != static_cast<int>(rank))
        continue;  // arrives over a channel, whose reader waits
      const std::int32_t position = position_[number(needed->stage, dependency.kind, needed->unit)];
      if (position > static_cast<std::int32_t>(index)) {
        const Action& late = schedule_.orders[rank][static_cast<std::size_t>(position)];
        report_action(Rule::kDependency, rank, index, "needs ", to_string(late),
                      ", which the same rank runs later, as action ", position);
      }
    }
  });
}

// K and V grow from the front, their gradients become complete from the back: out of order the
// result would be silently wrong.
void Validator::check_segment_order() {
  for_each_action([&](std::size_t rank, std::size_t index, const Action& action) {
    const KindRow& row = row_of(action.kind);
    const int step = row.segments == SegmentOrder::kAscending    ? -1
                     : row.segments == SegmentOrder::kDescending ? 1
                                                                 : 0;
    const std::int32_t before = action.unit.segment + step;
    if (step == 0 || before < 0 || before >= schedule_.spec.segments) return;
    const std::int32_t needed = position_[number(stage_of(schedule_, rank, action), action.kind,
                                                 {action.unit.micro_batch, before})];
    if (needed > static_cast<std::int32_t>(index)) {
      const Action& late = schedule_.orders[rank][static_cast<std::size_t>(needed)];
      report_action(Rule::kSegmentOrder, rank, index, row.name,
                    "s of a micro-batch must take its "
                    "segments in ",
                    step < 0 ? "ascending" : "descending", " order, but ", to_string(late),
                    " comes later, as action ", needed);
    }
  });
}

// Messages carry no tags: the consumer must want them in the order in which they are produced. A
// message is known by its edge and unit alone.
void Validator::check_channel_order() {
  const std::vector<Edge> edges = edges_of(schedule_);
  const EdgeMap map(schedule_, edges);
  // position[edge][unit]: of the unit's message among those of its edge.
  std::vector<std::int32_t> position(edges.size() * units_);
  const auto slot = [&](int edge, Unit unit) -> std::int32_t& {
    return position[static_cast<std::size_t>(edge) * units_ + number(0, Kind{}, unit)];
  };
  std::vector<std::int32_t> sent(edges.size()), taken(edges.size());
  for_each_action([&](std::size_t rank, std::size_t, const Action& action) {
    const int edge = map.of(stage_of(schedule_, rank, action), action.kind).sends;
    if (edge >= 0) slot(edge, action.unit) = sent[static_cast<std::size_t>(edge)]++;
  });
  for_each_action([&](std::size_t rank, std::size_t index, const Action& action) {
    const int edge = map.of(stage_of(schedule_, rank, action), action.kind).receives;
    if (edge < 0) return;
    const std::int32_t expected = taken[static_cast<std::size_t>(edge)]++;
    const std::int32_t actual = slot(edge, action.unit);
    if (actual != expected)
      report_action(Rule::kChannelOrder, rank, index, "takes message ", expected,
                    " of the channel from rank ", edges[static_cast<std::size_t>(edge)].from_rank,
                    ", but its input is sent as message ", actual,
                    "; a channel is first in, first out");
  });
}

// Runs all ranks against bounded channels. That an action waits for its input and a free send
// buffer before it takes either is stricter than what the runtime does, which takes its input
// first.
void Validator::check_deadlock() {
  if (depth_.send_buffers < 1 || depth_.receive_buffers < 1)
    return report(Rule::kDeadlock, 0, 0, "channels need at least one send and one receive buffer");
  const Execution execution = execute(schedule_, {.duration = {}, .delay = {}, .depth = depth_});
  const auto& waits = execution.waits;
  const auto stuck = std::ranges::find_if(waits, [](const auto& wait) { return wait.has_value(); });
  if (stuck == waits.end()) return;

  // Whoever is stuck waits for somebody who is stuck as well; walk until that closes a cycle.
  auto rank = static_cast<std::size_t>(stuck - waits.begin());
  const auto waits_for = [&](std::size_t waiting) {
    const auto peer = static_cast<std::size_t>(waits[waiting]->peer);
    SEQ1F1B_ASSERT(waits[peer], "rank ", peer, " is finished");
    return peer;
  };
  for (std::size_t steps = 0; steps < waits.size(); ++steps) rank = waits_for(rank);
  std::string story = concat("deadlock with ", depth_.send_buffers, " send and ",
                             depth_.receive_buffers, " receive buffers per channel");
  const std::size_t first = rank;
  do {
    const Wait& wait = *waits[rank];
    story += concat("; rank ", rank, " waits at action ", wait.index, " (",
                    to_string(schedule_.orders[rank][wait.index]), ") ",
                    wait.for_input ? "for its input from rank " : "for a free send buffer to rank ",
                    wait.peer);
    rank = waits_for(rank);
  } while (rank != first);
  report(Rule::kDeadlock, first, waits[first]->index, story);
}

}  // namespace

const char* rule_name(Rule rule) {
  switch (rule) {
    case Rule::kPlacement:
      return "placement";
    case Rule::kIndexRange:
      return "index range";
    case Rule::kOnce:
      return "once";
    case Rule::kMissing:
      return "missing";
    case Rule::kDependency:
      return "dependency";
    case Rule::kSegmentOrder:
      return "segment order";
    case Rule::kChannelOrder:
      return "channel order";
    case Rule::kDeadlock:
      return "deadlock";
  }
  return "unknown";
}

std::vector<Violation> validate(const Schedule& schedule) { return Validator(schedule).run(); }

void require_valid(const Schedule& schedule) {
  const std::vector<Violation> violations = validate(schedule);
  if (violations.empty()) return;
  throw ConfigError(concat("schedule ", schedule.spec.name, " is refused by the rule '",
                           rule_name(violations.front().rule), "': ", violations.front().sentence));
}

}  // namespace seq1f1b::schedule
