#pragma once
// One training run on one rank, from a configuration to the last step.
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/comm/world.h"
#include "core/config/load.h"
#include "core/data/tokenizer.h"
#include "core/metrics/metrics.h"
#include "core/runtime/rank_runtime.h"
#include "core/train/evaluation.h"
#include "core/train/report.h"
#include "core/train/run_directory.h"
#include "core/train/run_state.h"
#include "core/train/samples.h"
#include "core/train/set_up.h"
#include "core/train/step.h"

namespace seq1f1b::train {

struct Request {
  config::Loaded loaded;     // resolved and validated
  std::string command_line;  // for the record
};

class Trainer {
 public:
  Trainer(const Request& request, comm::World& world);

  // Sets up and trains to the end; returns an exit code. Once per object, collective over the
  // world. Throws AgreedError for whatever is wrong with data, checkpoint or configuration and
  // (kExitDiverged) on a loss, a norm or weights that are not finite; DeadlineError when a peer
  // does not respond.
  int run();

  // A line in this rank's log file, from the moment when the run directory is open. From any
  // thread.
  void log(const std::string& text) { directory_.log(text); }
  // Leaves word of how this rank ends, once it has begun to set up. From any thread.
  void end(runtime::Ending ending) {
    if (ring_) ring_->end(ending);
  }

 private:
  void plan();
  void tell_lost_ranks();
  void set_up();
  void make_ring();
  metrics::StepMetrics step();
  void evaluate();
  void require_finite_weights();
  void save();
  void saving_before_data_errors(const std::function<void()>& reading);
  bool evaluation_is_due() const;
  bool checkpoint_is_due() const;
  bool at_the_end() const { return state_.step == loaded_.config.training.train_iters; }

  config::Loaded loaded_;
  std::string command_line_;
  comm::World& world_;
  std::unique_ptr<comm::Group> all_;
  RunDirectory directory_;
  std::unique_ptr<data::Tokenizer> tokenizer_;  // where there is one
  plan::JobPlan job_;
  RunState state_;
  std::int64_t saved_step_ = 0;  // up to which a checkpoint holds what was trained
  // From set_up() on, in the order in which they depend on one another.
  std::optional<runtime::ActionRing> ring_;
  std::optional<Compute> compute_;
  std::unique_ptr<runtime::RankRuntime> runtime_;
  std::unique_ptr<Samples> samples_;  // where embedding or head is
  std::vector<std::int32_t> batch_;   // likewise
  std::unique_ptr<Step> step_;
  std::optional<Evaluator> evaluator_;
  std::optional<Report> report_;
  double simulated_bubble_ = 0, average_step_seconds_ = 0;
};

}  // namespace seq1f1b::train
