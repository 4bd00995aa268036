#pragma once
// Proves a schedule before anything starts, or says which rule it breaks.
#include <cstdint>
#include <string>
#include <vector>

#include "core/schedule/edges.h"
#include "core/schedule/schedule.h"

namespace seq1f1b::schedule {

enum class Rule : std::uint8_t {
  kPlacement,     // every stage exactly once
  kIndexRange,    // chunk, micro-batch and segment exist
  kOnce,          // every action exactly once
  kMissing,       // an action of the step is absent
  kDependency,    // an action runs before one on its own rank that it needs
  kSegmentOrder,  // forwards ascend, backwards descend in the segments of a micro-batch
  kChannelOrder,  // producer and consumer of an edge disagree on the order of messages
  kDeadlock,      // the ranks wait for each other at this channel depth
};
const char* rule_name(Rule rule);

struct Violation {
  Rule rule;
  int rank = 0;
  std::size_t index = 0;  // position in the rank's order
  std::string sentence;   // for people: what is broken, which action, what it waits for
};

// Proves the schedule or names the first broken rule (rules are checked in the order of Rule).
// Empty: proved. Time O(actions).
std::vector<Violation> validate(const Schedule& schedule);
// Throws ConfigError with the first violation's sentence.
void require_valid(const Schedule& schedule);

}  // namespace seq1f1b::schedule
