#pragma once
// Entry of the train command: joins the job, trains, and turns every outcome into one exit code
// that is the same on all ranks.
#include "core/train/trainer.h"
#include "kernels/common/errors.h"

namespace seq1f1b::train {

int run(const Request& request);

// Joins the job only to tell the other ranks that this one cannot begin: the lowest rank of those is
// heard, once, and all return its code. The others are in run(), or here. Where they do not come,
// this rank speaks for itself.
int run_without(const Error& failure);

}  // namespace seq1f1b::train
