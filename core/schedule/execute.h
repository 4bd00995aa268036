#pragma once
// The one executor of schedules: proof, simulator and planner run a schedule here, each with a
// machine of its own. It does what the stage loop does: every rank takes its actions in order,
// waits for a message, then for a free send buffer, then runs.
#include <functional>
#include <optional>
#include <vector>

#include "core/schedule/edges.h"
#include "core/schedule/schedule.h"

namespace seq1f1b::schedule {

// What a schedule is run on. Times are in any one unit.
struct Machine {
  // Of an action of a stage; absent: none takes time.
  std::function<double(const Action& action, int stage)> duration;
  // From the end of the action that sends a message to its arrival; absent: links are free.
  std::function<double(const Edge& edge, Unit unit)> delay;
  // Buffers of the channels; absent: as many as anybody wants. A message moves on to a receive
  // buffer as soon as one is free and leaves that when its consumer starts, so the count in flight
  // is what matters. Local edges always have what they need (local_buffers).
  std::optional<ChannelDepth> depth;
};

// When an action ran.
struct Span {
  double start = 0, end = 0;
};

// What a rank that cannot go on waits for.
struct Wait {
  std::size_t index = 0;   // of its action
  int peer = 0;            // the rank on the other side
  bool for_input = false;  // else for a free send buffer
};

struct Execution {
  std::vector<std::vector<Span>> spans;    // [rank][index in the order], as far as the rank came
  std::vector<std::optional<Wait>> waits;  // by rank; absent: it came to its end
  bool complete() const;
};

// The schedule obeys all rules of validate.h up to the order of channels. Whether such a net of
// deterministic processes stops short does not depend on timing, so one run with bounded channels
// proves that none ever does. Time O(actions).
Execution execute(const Schedule& schedule, const Machine& machine);

}  // namespace seq1f1b::schedule
