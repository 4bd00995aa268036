#pragma once
// From a configuration to devices that are ready: what is decided before a run can be planned and
// begun, by all ranks alike.
#include <memory>
#include <span>

#include "core/comm/fabric.h"
#include "core/config/load.h"
#include "core/data/tokenizer.h"
#include "core/plan/rank_plan.h"
#include "core/train/run_directory.h"
#include "core/train/run_state.h"
#include "kernels/device.h"

namespace seq1f1b::train {

// The tokenizer of a run; null where the data comes without. Fills in the size of its vocabulary
// where the model leaves it open. Throws ConfigError where that is not known, or smaller than the
// tokenizer's, and DataError.
std::unique_ptr<data::Tokenizer> load_tokenizer(config::Loaded& loaded);
// The same on every rank. Throws an AgreedError, with kExitMismatch where ranks see different
// tokenizers. Collective.
std::unique_ptr<data::Tokenizer> load_tokenizer(config::Loaded& loaded, comm::Group& all);

// Writes the device over runtime.device: auto: a GPU where every rank can use one. Throws an
// AgreedError where the configuration asks for what is not there. Collective.
void choose_device(config::Loaded& loaded, comm::Group& all, RunDirectory& directory);

// What a rank computes on, and what carries device memory between the ranks. The fabric refers to
// the back end's device.
struct Compute {
  int threads = 1;
  bool shared = false;  // some rank has fewer cores than run on them, or part of a GPU
  kernels::Backend backend;
  std::unique_ptr<comm::Fabric> fabric;
};
// Throws an AgreedError where the device does not start or the plan does not fit it. Collective.
Compute connect_compute(const plan::JobPlan& job, comm::World& world, comm::Group& all);

// runtime.attention: auto: sets state.attention, from which a resumed run takes its choice, and
// tells the back end. For RankRuntime, before the first graph is captured. Collective.
void choose_attention(const plan::JobPlan& job, const plan::RankPlan& plan,
                      std::span<std::byte> idle, kernels::Backend& backend, comm::Group& all,
                      RunState& state, RunDirectory& directory);

}  // namespace seq1f1b::train
