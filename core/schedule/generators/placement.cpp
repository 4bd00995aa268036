#include "core/schedule/generators/generators.h"

namespace seq1f1b::schedule {

void place_looping(Schedule& schedule) {
  const Spec& spec = schedule.spec;
  for (int rank = 0; rank < spec.ranks; ++rank) {
    std::vector<int>& stages = schedule.placement.emplace_back();
    for (int chunk = 0; chunk < spec.chunks; ++chunk) stages.push_back(chunk * spec.ranks + rank);
  }
}

}  // namespace seq1f1b::schedule
