#pragma once
// The last training pass of every rank, as its device timed it, to be set beside the simulated one.
#include "core/comm/group.h"
#include "core/runtime/stage_loop.h"
#include "core/simulate/timeline.h"

namespace seq1f1b::train {

// Collective over `all`, whose ranks are the pipeline's in order. Every rank's clock begins with
// its pass: all come out of the reduction that ends a step, so they begin together but for its
// skew. No spans at all for orders so long that not every action is timed (StageLoop::timed_every).
simulate::Timeline measured_timeline(const runtime::StageLoop& loop, comm::Group& all);

}  // namespace seq1f1b::train
