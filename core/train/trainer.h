#pragma once
// One training run on one rank: setup, the loop of steps, evaluation, checkpoints, and what is
// shown.
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/comm/fabric.h"
#include "core/config/load.h"
#include "core/data/tokenizer.h"
#include "core/metrics/metrics.h"
#include "core/runtime/attention_choice.h"
#include "core/runtime/rank_runtime.h"
#include "core/train/samples.h"
#include "core/train/step.h"

namespace seq1f1b::train {

struct Request {
  config::Loaded loaded;     // resolved and validated
  std::string command_line;  // for the record
};

// Result of an evaluation over the validation share.
struct Evaluation {
  double loss = 0;           // mean over its tokens, nats
  double bits_per_byte = 0;  // 0 without a tokenizer
  std::int64_t tokens = 0;
};

class Trainer {
 public:
  Trainer(const Request& request, comm::World& world);
  ~Trainer();

  // Sets up and trains to the end; returns an exit code. Once per object, collective over the
  // world. Throws AgreedError for whatever is wrong with data, checkpoint or configuration and
  // (kExitDiverged) on a loss or norm that is not finite; DeadlineError when a peer stays away.
  int run();

  // A line in this rank's log file, from the moment when the run directory is open.
  void log(const std::string& text);

 private:
  bool first() const { return world_.rank() == 0; }
  void set_up();
  void open_run_directory();
  void load_tokenizer();
  void choose_device();
  void choose_threads();
  void set_up_device();
  void choose_attention(const runtime::RankPlan& plan, std::span<std::byte> idle);
  void open_data();
  void restore_or_initialise();
  void announce();
  bool already_complete();
  void log_memory();
  std::map<std::string, std::string> libraries() const;
  metrics::StepMetrics step(std::int64_t number);
  std::optional<Evaluation> evaluate(std::int64_t step);
  void save();
  std::string schedule_title() const;
  void draw_measured();
  void report_end(const std::string& checkpoint);

  config::Loaded loaded_;
  std::string command_line_;
  comm::World& world_;
  std::unique_ptr<comm::Group> all_;
  std::string run_directory_;
  std::unique_ptr<metrics::RankLog> log_;
  std::unique_ptr<metrics::Progress> progress_;    // rank 0
  std::unique_ptr<metrics::MetricsFile> metrics_;  // rank 0
  std::unique_ptr<data::Tokenizer> tokenizer_;     // where there is one
  std::optional<kernels::Backend> backend_;
  std::unique_ptr<comm::Fabric> fabric_;
  int threads_ = 1;
  runtime::JobPlan job_;
  std::optional<runtime::AttentionChoice> attention_;  // of runtime.attention: auto
  std::unique_ptr<runtime::RankRuntime> runtime_;
  std::unique_ptr<Samples> samples_;  // where embedding or head is
  std::vector<std::int32_t> batch_;
  std::unique_ptr<Step> step_runner_;
  std::int64_t step_ = 0, consumed_samples_ = 0;
  std::int64_t evaluation_batches_ = 0;
  double simulated_bubble_ = 0, average_step_seconds_ = 0;
  bool compute_is_shared_ = false;  // some rank has fewer cores than run on them, or part of a GPU
  std::string resumed_from_;
  std::optional<Evaluation> last_evaluation_;
};

}  // namespace seq1f1b::train
