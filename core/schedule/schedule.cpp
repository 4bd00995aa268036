#include "core/schedule/schedule.h"

#include <algorithm>

#include "kernels/common/errors.h"

namespace seq1f1b::schedule {

Place place_of_stage(const Schedule& schedule, int stage) {
  for (std::size_t rank = 0; rank < schedule.placement.size(); ++rank)
    for (std::size_t chunk = 0; chunk < schedule.placement[rank].size(); ++chunk)
      if (schedule.placement[rank][chunk] == stage)
        return {static_cast<int>(rank), static_cast<int>(chunk)};
  throw InternalError(concat("stage ", stage, " is placed on no rank"));
}

int stage_of(const Schedule& schedule, std::size_t rank, const Action& action) {
  return schedule.placement[rank][static_cast<std::size_t>(action.chunk)];
}

std::optional<Needed> needed_for(const Schedule& schedule, const Dependency& dependency, int stage,
                                 Unit unit) {
  switch (dependency.where) {
    case Where::kSameUnit:
      break;
    case Where::kPreviousStage:
      --stage;
      break;
    case Where::kNextStage:
      ++stage;
      break;
    case Where::kPreviousSegment:
      --unit.segment;
      break;
    case Where::kNextSegment:
      ++unit.segment;
      break;
  }
  if (stage < 0 || stage >= schedule.stages() || unit.segment < 0 ||
      unit.segment >= schedule.spec.segments)
    return std::nullopt;
  return Needed{stage, unit};
}

std::string to_string(const Action& action) {
  return concat(row_of(action.kind).letter, action.unit.micro_batch + 1, '.',
                action.unit.segment + 1, std::string(static_cast<std::size_t>(action.chunk), '\''));
}

std::string describe(const Action& action) {
  return concat(row_of(action.kind).name, " of micro-batch ", action.unit.micro_batch + 1,
                ", segment ", action.unit.segment + 1,
                action.chunk ? concat(", chunk ", action.chunk + 1) : "");
}

std::string to_string(const Schedule& schedule) {
  std::string text;
  for (std::size_t rank = 0; rank < schedule.orders.size(); ++rank) {
    const Order& order = schedule.orders[rank];
    const auto is_forward = [](const Action& action) { return action.kind == Kind::kForward; };
    // Three phases, read off the order: up to the forward just before the first backward, up to the
    // last action that follows a forward, the rest. Without a second phase all forwards are
    // warm-up.
    const auto first_other = std::ranges::find_if_not(order, is_forward);
    auto warm_up = static_cast<std::size_t>(first_other - order.begin());
    auto steady_end = warm_up;
    if (std::any_of(first_other, order.end(), is_forward)) {
      --warm_up;
      steady_end = order.size();
      while (!is_forward(order[steady_end - 1])) --steady_end;
      steady_end = std::min(steady_end + 1, order.size());
    }
    text += concat("p", rank, " (w=", warm_up, "):");
    for (std::size_t index = 0; index < order.size(); ++index) {
      if (index > 0 && (index == warm_up || index == steady_end)) text += " |";
      text += ' ' + to_string(order[index]);
    }
    text += '\n';
  }
  return text;
}

}  // namespace seq1f1b::schedule
