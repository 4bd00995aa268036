#pragma once
// Entry of the train command: joins the job, trains, and turns every outcome into one exit code
// that is the same on all ranks.
#include "core/train/trainer.h"

namespace seq1f1b::train {

int run(const Request& request);

}  // namespace seq1f1b::train
