#pragma once
// What the rings of a run directory tell of its last start: who belonged to it, and who was lost.
#include <string>
#include <vector>

#include "core/runtime/action_ring.h"

namespace seq1f1b::runtime {

struct LastStart {
  ActionRing::Start start;
  std::vector<RingContents> rings;  // of its ranks, ascending; some may be missing
  // Names of rings of other starts, and of files that cannot be read as rings, e.g. "rank_00003".
  std::vector<std::string> left_over;
};

// The start that rank 0's ring names, or, without one, the newest. `folder`: RUN/logs. No rings
// where there are none; throws DataError where the folder cannot be read.
LastStart read_last_start(const std::string& folder);

// "the forward of micro-batch 3, segment 1 (step 12)", or "before its first action".
std::string last_action(const RingContents& ring);

// One sentence that names the ranks which stopped without a word, if the start ended so: killed or
// crashed, where no rank came to the end or failed in words. Else empty.
std::string lost_ranks(const LastStart& last);

}  // namespace seq1f1b::runtime
