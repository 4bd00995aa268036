// The run as docs/step.md tells it: what happens before the first step, then step by step.
#include "core/train/trainer.h"

#include <chrono>
#include <cmath>
#include <filesystem>

#include "core/base/clock.h"
#include "core/checkpoint/folders.h"
#include "core/config/schema.h"
#include "core/optimizer/lr_schedule.h"
#include "core/runtime/last_start.h"
#include "core/train/agreement.h"
#include "core/train/open_data.h"
#include "core/train/save_trial.h"
#include "kernels/common/errors.h"

namespace seq1f1b::train {
namespace {

// What to do after a divergence, in a run whose last checkpoint is `last` (empty: none). Its
// weights are finite but may have diverged: surely so if `at_once`, in the first step after it.
std::string after_divergence(const std::string& last, bool at_once) {
  const std::string how =
      "; this step was not saved. Use a smaller optimizer.lr or a longer "
      "optimizer.lr_warmup_iters, and ";
  if (last.empty()) return how + "start anew, as nothing was saved before";
  std::string earlier = "start anew (checkpoint.resume=none)";
  try {
    const std::filesystem::path path(last);
    const auto step = checkpoint::parse_step_name(path.filename().string());
    for (const auto& folder : checkpoint::list_steps(path.parent_path().string())) {
      if (!step || folder.step >= *step) continue;
      earlier = concat("resume from an earlier checkpoint (checkpoint.resume=", folder.path, ")");
      break;
    }
  } catch (const DataError&) {  // this is advice only
  }
  if (at_once) return concat(how, earlier, ": the weights of ", last, " have diverged already");
  return concat(how, "resume from the last checkpoint (checkpoint.resume=", last,
                "); if that diverges again at once, ", earlier);
}

// One line for each key, with its name.
std::string values_by_key(const config::Config& config) {
  std::string lines;
  for (const config::Field& field : config::schema())
    lines += concat(field.name(), ": ", config::value_text(field, config), "\n");
  return lines;
}

}  // namespace

Trainer::Trainer(const Request& request, comm::World& world)
    : loaded_(request.loaded),
      command_line_(request.command_line),
      world_(world),
      directory_(request.loaded.config, world.rank()) {}

int Trainer::run() {
  plan();
  state_ = find_state(loaded_.config, tokenizer_.get(), *all_, directory_);
  const std::int64_t steps = loaded_.config.training.train_iters;
  if (state_.step >= steps) {
    directory_.show(concat("already complete: ", state_.step, " of ", steps, " steps"));
    report_end(state_, directory_);
    return kExitComplete;
  }
  saved_step_ = state_.step;
  require_room(job_, state_, *all_, directory_);
  set_up();
  report_->start({.command_line = command_line_, .world_size = world_.size()}, state_,
                 runtime_->plan(), evaluator_->batches() > 0);

  for (const std::int64_t first_step = state_.step + 1; !at_the_end();) {
    const metrics::StepMetrics shown = step();
    if (state_.step == first_step) report_->memory(runtime_->plan());
    directory_.show(shown);
    if (evaluation_is_due() || checkpoint_is_due()) require_finite_weights();
    if (evaluation_is_due()) evaluate();
    if (checkpoint_is_due()) save();
  }
  report_->growth();
  report_end(state_, directory_);
  report_->measured(runtime_->training_loop(), state_.step);
  return kExitComplete;
}

// Everything that is known without a device: what runs, on what, in which order, in which memory.
void Trainer::plan() {
  all_ = world_.make_group(comm::everyone(world_));
  require_equal(*all_, "configuration", values_by_key(loaded_.config));
  agree(*all_, "locking the run directory", [&] { directory_.lock(); });
  if (saves(loaded_.config.checkpoint)) try_saving(directory_.path(), *all_);
  agree(*all_, "opening the run directory", [&] {
    directory_.open();
    directory_.log(
        concat("start: rank ", world_.rank(), " of ", world_.size(), ", ", command_line_));
    if (world_.rank() == 0) tell_lost_ranks();
  });
  tokenizer_ = load_tokenizer(loaded_, *all_);
  choose_device(loaded_, *all_, directory_);
  agree(*all_, "planning", [&] {
    job_ = plan::plan_job(loaded_.config,
                          config::validate(loaded_.config, world_.size(), &loaded_.origins));
  });
}

// Before this start replaces what the last one left.
void Trainer::tell_lost_ranks() {
  try {
    const std::string lost = runtime::lost_ranks(runtime::read_last_start(directory_.logs()));
    if (!lost.empty()) directory_.note(lost);
  } catch (const DataError& error) {
    directory_.log(concat("how the last start ended is not known: ", error.what()));
  }
}

void Trainer::make_ring() {
  runtime::ActionRing::Start start{
      .unix_nanoseconds =
          std::chrono::nanoseconds(std::chrono::system_clock::now().time_since_epoch()).count(),
      .ranks = world_.size()};
  all_->broadcast(start.unix_nanoseconds, 0, [] { return std::string("naming this start"); });
  agree(*all_, "making the ring of last actions", [&] {
    ring_.emplace(directory_.ring_path(), start, world_.rank());
    // A launcher asks the others to end when it has lost a rank, and need not say so itself. One of
    // them is enough to speak.
    ring_->note_signals(
        world_.rank() > 0 || world_.size() == 1
            ? ""
            : concat(
                  "seq1f1b: rank 0 was asked to end. If neither you nor a message above says why, "
                  "a rank was lost: `seq1f1b doctor ",
                  directory_.path(), "` and the next start there tell which\n"));
  });
}

void Trainer::set_up() {
  make_ring();
  const config::Config& config = loaded_.config;
  compute_.emplace(connect_compute(job_, world_, *all_));
  kernels::Backend& backend = compute_->backend;
  runtime_ = std::make_unique<runtime::RankRuntime>(
      job_, backend, *compute_->fabric, &*ring_,
      [&](const plan::RankPlan& plan, std::span<std::byte> idle) {
        choose_attention(job_, plan, idle, backend, *all_, state_, directory_);
      });
  samples_ =
      open_data(config, tokenizer_.get(), runtime_->needs_samples(), *all_, state_, directory_);
  if (samples_) batch_.resize(samples_->batch_tokens());
  step_ = std::make_unique<Step>(job_, *runtime_, *compute_->fabric);
  load_parameters(state_, config, runtime_->store(), backend, compute_->threads, *all_);
  evaluator_.emplace(config, *runtime_, samples_.get(), batch_, tokenizer_.get(), *all_);
  report_.emplace(loaded_, job_, *compute_, *all_, directory_);
  simulated_bubble_ = job_.simulated(false).bubble;
}

// The next step, and what is to be shown of it.
metrics::StepMetrics Trainer::step() {
  const config::TrainingConfig& training = loaded_.config.training;
  const std::int64_t number = state_.step + 1;
  const double start = base::monotonic_seconds();
  const double learning_rate =
      optimizer::learning_rate(loaded_.config.optimizer, number, training.train_iters);
  saving_before_data_errors([&] {
    agree(*all_, concat("reading the samples of step ", number), [&] {
      if (samples_) samples_->training_batch(state_.consumed_samples, batch_);
    });
  });

  const StepResult result = step_->run(batch_, number, learning_rate);
  if (!result.finite)
    throw AgreedError(
        kExitDiverged,
        concat("step ", number, ": the loss is ", result.loss, " and the gradient norm ",
               result.grad_norm, after_divergence(state_.checkpoint, state_.step == saved_step_)));
  state_.step = number;
  state_.consumed_samples += training.global_batch_size;
  state_.consumed_tokens += job_.derived.tokens_per_step;

  metrics::StepMetrics shown;
  shown.step = number;
  shown.total_steps = training.train_iters;
  shown.loss = result.loss;
  shown.grad_norm = result.grad_norm;
  shown.learning_rate = learning_rate;
  shown.step_seconds = base::monotonic_seconds() - start;
  shown.tokens_per_second = static_cast<double>(job_.derived.tokens_per_step) / shown.step_seconds;
  shown.model_tflops = job_.model_flops_per_step() / shown.step_seconds / 1e12;
  // Waiting says nothing about the schedule where ranks wait for cores, or for one GPU.
  shown.bubble_measured = !compute_->shared;
  shown.bubble = compute_->shared ? simulated_bubble_ : result.bubble;
  average_step_seconds_ = average_step_seconds_ == 0
                              ? shown.step_seconds
                              : 0.9 * average_step_seconds_ + 0.1 * shown.step_seconds;
  shown.eta_seconds = average_step_seconds_ * static_cast<double>(training.train_iters - number);
  shown.consumed_samples = state_.consumed_samples;
  return shown;
}

// The last update may have made them so, whose step began well. Looked at before anything is made
// of them: what is saved is finite, and what was saved before is not removed for it.
void Trainer::require_finite_weights() {
  agree(*all_, concat("looking for weights that are not finite (step ", state_.step, ")"), [&] {
    const std::string name = runtime_->optimizer().first_not_finite();
    if (!name.empty())
      throw DivergedError(concat("step ", state_.step, ": ", name,
                                 " is not finite after the update",
                                 after_divergence(state_.checkpoint, false)));
  });
}

void Trainer::evaluate() {
  saving_before_data_errors([&] { state_.evaluation = evaluator_->run(state_.step); });
  if (!state_.evaluation) return;
  report_evaluation(*state_.evaluation, state_.step, directory_);
  // The same on all ranks, as sums are.
  if (!std::isfinite(state_.evaluation->loss))
    throw AgreedError(kExitDiverged,
                      concat("step ", state_.step, ": the validation loss is ",
                             state_.evaluation->loss, after_divergence(state_.checkpoint, false)));
}

void Trainer::save() {
  train::save(state_, loaded_.config, tokenizer_.get(), runtime_->store(),
              *compute_->backend.device, *all_, directory_);
  saved_step_ = state_.step;
}

// Data that changes under a run ends it; the steps until then are sound and stay.
void Trainer::saving_before_data_errors(const std::function<void()>& reading) {
  try {
    reading();
  } catch (const AgreedError& error) {
    const bool saves = loaded_.config.checkpoint.save_interval >= 0;
    if (error.code() == kExitData && saves && state_.step != saved_step_) try {
        require_finite_weights();
        save();
      } catch (const AgreedError& second) {
        throw AgreedError(error.code(), concat(error.what(), "; and the steps since ", saved_step_,
                                               " could not be saved: ", second.what()));
      }
    throw;
  }
}

bool Trainer::evaluation_is_due() const {
  const std::int64_t interval = loaded_.config.training.eval_interval;
  return at_the_end() || (interval > 0 && state_.step % interval == 0);
}

bool Trainer::checkpoint_is_due() const {
  const std::int64_t interval = loaded_.config.checkpoint.save_interval;
  return (at_the_end() && interval >= 0) || (interval > 0 && state_.step % interval == 0);
}

}  // namespace seq1f1b::train
