#include "core/simulate/timeline.h"

namespace seq1f1b::simulate {

Cost unit_cost(const schedule::Schedule& schedule) {
  return [features = schedule.features](const schedule::Action& action, int) {
    return schedule::unit_cost(action.kind, features);
  };
}

}  // namespace seq1f1b::simulate
