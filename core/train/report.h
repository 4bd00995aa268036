#pragma once
// What a run says about itself beside its steps: at the start, after the first step, at the end.
#include <map>
#include <string>

#include "core/config/load.h"
#include "core/plan/job_plan.h"
#include "core/runtime/rank_runtime.h"
#include "core/train/run_directory.h"
#include "core/train/run_state.h"
#include "core/train/set_up.h"

namespace seq1f1b::train {

// Which program ran where and how; for run_info.json.
struct Provenance {
  std::string command_line;
  int world_size = 1;
};

// Speaks for one run. All arguments outlive it.
class Report {
 public:
  Report(const config::Loaded& loaded, const plan::JobPlan& job, const Compute& compute,
         comm::Group& all, RunDirectory& directory);

  // Model, schedule, memory; the files that say what runs; opens the metrics. `evaluates`: there is
  // something held out. Throws an AgreedError. Collective.
  void start(const Provenance& provenance, const RunState& state, const plan::RankPlan& plan,
             bool evaluates);
  // What the device holds beside the plan, once everything has run; for the log.
  void memory(const plan::RankPlan& plan);
  // Whether it holds more now, since nothing is to be allocated after the first step; for the log.
  void growth() const;
  // Draws the last step as it was beside the picture of how it should be. Collective.
  void measured(const runtime::StageLoop& loop, std::int64_t step);

 private:
  std::map<std::string, std::string> libraries() const;
  void tell_course(const RunState& state);
  void tell_plan(const std::vector<std::string>& memory, int world_size);

  const config::Loaded& loaded_;
  const plan::JobPlan& job_;
  const Compute& compute_;
  comm::Group& all_;
  RunDirectory& directory_;
  std::size_t after_first_step_ = 0;  // bytes beside the plan
};

// One line about a learning rate that is another one now for the step after `step` than with the
// configuration `saved` in the checkpoint, a YAML text; empty: it goes on as it was.
std::string learning_rate_change(const std::string& saved, const config::Config& config,
                                 std::int64_t step);

// What came out of it, and where it lies.
void report_evaluation(const Evaluation& evaluation, std::int64_t step, RunDirectory& directory);
void report_end(const RunState& state, RunDirectory& directory);

}  // namespace seq1f1b::train
