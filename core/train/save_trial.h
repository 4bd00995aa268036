#pragma once
// What a save will need, tried before the first step: with the default interval the first save is
// the end of the training.
#include <cstdint>
#include <string>

#include "core/comm/group.h"
#include "core/config/config.h"
#include "core/plan/job_plan.h"
#include "core/train/run_directory.h"
#include "core/train/run_state.h"

namespace seq1f1b::train {

inline bool saves(const config::CheckpointConfig& config) { return config.save_interval >= 0; }

// Every rank writes, syncs and renames a file in RUN/checkpoints, and sees those of the others; all
// of it goes again, after a kill with the next trial or save. Throws an AgreedError with kExitData
// that names the ranks which cannot, or which do not share the folder. Collective.
void try_saving(const std::string& run_directory, comm::Group& all);

// How many checkpoints a run adds to those that lie there, at most at a time.
struct Places {
  std::int64_t rolling = 0;  // that keep_last keeps, and one being written
  std::int64_t all = 0;      // with those that stay for good (keep_every, keep_last: 0)
};
// `existing`: checkpoints lying there that the retention removes in their turn.
Places places(const config::CheckpointConfig& config, std::int64_t step, std::int64_t train_iters,
              std::int64_t existing);

// Compares the free space with the checkpoints to come. Throws DataError where those that the run
// cannot do without do not fit; returns what to tell where others will not, else an empty text.
std::string room_problem(const config::CheckpointConfig& config, const Places& places,
                         std::uint64_t checkpoint_bytes, std::uint64_t free_bytes,
                         const std::string& folder);

// Of the run that goes on from `state`. Throws an AgreedError. Collective.
void require_room(const plan::JobPlan& job, const RunState& state, comm::Group& all,
                  RunDirectory& directory);

}  // namespace seq1f1b::train
