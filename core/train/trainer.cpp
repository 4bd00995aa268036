#include "core/train/trainer.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <numbers>
#include <numeric>

#include "core/base/clock.h"
#include "core/base/cores.h"
#include "core/base/files.h"
#include "core/base/text.h"
#include "core/checkpoint/directory.h"
#include "core/checkpoint/parameters_io.h"
#include "core/metrics/run_info.h"
#include "core/optimizer/lr_schedule.h"
#include "core/parameters/initialise.h"
#include "core/runtime/backend_choice.h"
#include "core/runtime/knobs.h"
#include "core/train/agreement.h"
#include "core/train/measured_timeline.h"
#include "core/train/model_json.h"
#include "kernels/common/errors.h"
#include "kernels/ops.h"

namespace seq1f1b::train {
namespace {

std::string rank_file(const std::string& directory, const char* folder, int rank,
                      const char* ending) {
  char name[48];
  std::snprintf(name, sizeof name, "/%s/rank_%05d%s", folder, rank, ending);
  return directory + name;
}

std::string three_digits(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3f", value);
  return text;
}

// "2.2M", "1.3B".
std::string count_text(std::int64_t count) {
  char text[32];
  const auto value = static_cast<double>(count);
  if (value >= 1e9)
    std::snprintf(text, sizeof text, "%.2fB", value / 1e9);
  else if (value >= 1e6)
    std::snprintf(text, sizeof text, "%.2fM", value / 1e6);
  else
    std::snprintf(text, sizeof text, "%.0fK", value / 1e3);
  return text;
}

}  // namespace

Trainer::Trainer(const Request& request, comm::World& world)
    : loaded_(request.loaded),
      command_line_(request.command_line),
      world_(world),
      run_directory_(request.loaded.config.checkpoint.directory) {}

Trainer::~Trainer() = default;

void Trainer::set_up() {
  std::vector<int> everyone(static_cast<std::size_t>(world_.size()));
  std::iota(everyone.begin(), everyone.end(), 0);
  all_ = world_.make_group(everyone);
  require_equal(*all_, "configuration", config::to_yaml(loaded_.config));
  config::Config& config = loaded_.config;
  agree(*all_, "opening the run directory", [&] { open_run_directory(); });
  agree(*all_, "loading the tokenizer", [&] { load_tokenizer(); });
  choose_device();
  agree(*all_, "planning",
        [&] { job_ = runtime::plan_job(config, config::validate(config, world_.size())); });
  if (already_complete()) return;
  choose_threads();
  set_up_device();
  runtime_ = std::make_unique<runtime::RankRuntime>(
      job_, *backend_, *fabric_, rank_file(run_directory_, "logs", world_.rank(), ".ring"),
      [&](const runtime::RankPlan& plan, std::span<std::byte> idle) {
        choose_attention(plan, idle);
      });
  agree(*all_, "opening the data", [&] { open_data(); });
  step_runner_ = std::make_unique<Step>(job_, *runtime_, *fabric_);
  simulated_bubble_ = job_.simulated(false).bubble;
  restore_or_initialise();
}

// On all ranks alike: a GPU where every rank can use one.
void Trainer::choose_device() {
  const config::RuntimeConfig& runtime = loaded_.config.runtime;
  const auto refusals =
      all_->all_gather(runtime::may_use_cuda(runtime) ? runtime::cuda_refusal() : "",
                       [] { return "comparing what the ranks can compute on"; });
  agree(*all_, "choosing the device", [&] {
    const runtime::DeviceChoice choice = runtime::choose_device(runtime, refusals);
    log(concat("computes on ", choice.device, " (", choice.reason, ")"));
    // Whoever counts on GPUs should not have to look for the reason in a log.
    if (first() && runtime.device == "auto" && choice.device != "cuda")
      progress_->message(concat("computes on the CPU: ", choice.reason));
    runtime::apply_choice(choice, loaded_);
  });
}

// Makes the back end, checks that the plan fits, and connects the devices of all ranks.
void Trainer::set_up_device() {
  const config::RuntimeConfig& runtime = loaded_.config.runtime;
  const kernels::cuda::Module* module = runtime::module_of(runtime);
  agree(*all_, "setting up the device",
        [&] { backend_.emplace(runtime::make_backend(runtime, world_.local_rank(), threads_)); });
  kernels::Device& device = *backend_->device;
  auto sharing = static_cast<std::size_t>(world_.local_size());
  if (module) {
    const std::vector<int> ranks = comm::sharing_ranks(world_, device, *module);
    sharing = static_cast<std::size_t>(ranks[static_cast<std::size_t>(world_.rank())]);
    compute_is_shared_ = std::ranges::max(ranks) > 1;
  }
  agree(*all_, "planning the memory of the device", [&] {
    const runtime::RankPlan plan =
        runtime::plan_rank(job_, runtime::mesh_of(job_).coordinate_of(world_.rank()).pp);
    // What is free tells more than what there is: libraries have taken their part, on GPUs.
    const std::size_t free = device.free_bytes();
    runtime::require_fits(job_, plan.planned_bytes() + plan.record_bytes,
                          (free > 0 ? free : device.memory_bytes()) / sharing);
  });
  fabric_ = comm::connect_devices(world_, device, module);
}

// Before anything is recorded; what the checkpoint holds of it is in `attention_`.
void Trainer::choose_attention(const runtime::RankPlan& plan, std::span<std::byte> idle) {
  if (loaded_.config.runtime.attention != "auto") {
    attention_.reset();
    return;
  }
  std::vector<std::string> notes;
  if (!resumed_from_.empty() && !attention_)
    notes.push_back("attention is chosen now: the checkpoint holds no choice");
  attention_ =
      runtime::choose_attention(job_, *backend_, *all_, idle, plan.record_bytes, attention_, notes);
  notes.push_back("attention by " + runtime::attention_summary(*attention_));
  for (const std::string& note : notes) {
    log(note);
    if (first()) progress_->message(note);
  }
}

void Trainer::log(const std::string& text) {
  if (log_) log_->line(text);
}

void Trainer::open_run_directory() {
  const bool fresh = loaded_.config.checkpoint.resume == "none";
  base::Disk().make_directory(run_directory_ + "/logs");
  log_ = std::make_unique<metrics::RankLog>(
      rank_file(run_directory_, "logs", world_.rank(), ".log"), !fresh);
  log(concat("start: rank ", world_.rank(), " of ", world_.size(), ", ", command_line_));
  if (!first()) return;
  progress_ = std::make_unique<metrics::Progress>(loaded_.config.logging.interval);
}

void Trainer::load_tokenizer() {
  config::ModelConfig& model = loaded_.config.model;
  const std::string path =
      data::find_tokenizer(loaded_.config.data.tokenizer, loaded_.config.data.train);
  if (!path.empty()) tokenizer_ = data::load_tokenizer(path);
  if (model.vocab_size == 0) {
    if (!tokenizer_)
      throw ConfigError(concat("model.vocab_size is 0 (the tokenizer's), but there is no ",
                               loaded_.config.data.train.front(),
                               ".tokenizer.json; set model.vocab_size or data.tokenizer"));
    model.vocab_size = tokenizer_->vocab_size();
    loaded_.origins["model.vocab_size"] = path;
  }
  if (tokenizer_ && tokenizer_->vocab_size() > model.vocab_size)
    throw ConfigError(concat("model.vocab_size ", model.vocab_size, " is smaller than the ",
                             tokenizer_->vocab_size(), " tokens of ", path));
}

void Trainer::choose_threads() {
  const int wanted = loaded_.config.runtime.threads;
  const std::vector<base::CoreShare> shares = base::share_cores(
      all_->all_gather(base::core_set(), [] { return "comparing the cores of the ranks"; }));
  const auto threads_of = [&](const base::CoreShare& share) {
    return wanted > 0 ? wanted : share.threads();
  };
  threads_ = threads_of(shares[static_cast<std::size_t>(world_.rank())]);
  compute_is_shared_ = std::ranges::any_of(shares, [&](const base::CoreShare& share) {
    return share.processes * threads_of(share) > share.cores;
  });
}

void Trainer::open_data() {
  if (!runtime_->needs_samples()) return;
  samples_ = std::make_unique<Samples>(loaded_.config);
  batch_.resize(samples_->batch_tokens());
}

bool Trainer::already_complete() {
  const auto& config = loaded_.config;
  std::string notice;
  // Rank 0 looks, so that all ranks resume the same checkpoint.
  agree(*all_, "looking for a checkpoint", [&] {
    if (!first() || config.checkpoint.resume == "none") return;
    if (config.checkpoint.resume != "auto")
      resumed_from_ = config.checkpoint.resume;
    else if (const auto latest = checkpoint::find_latest(run_directory_, &notice))
      resumed_from_ = *latest;
  });
  resumed_from_ = all_->all_gather(resumed_from_, [] { return "choosing the checkpoint"; }).front();
  if (!notice.empty()) progress_->message(notice);
  if (resumed_from_.empty()) return false;
  agree(*all_, "opening the checkpoint", [&] {
    const checkpoint::Reader reader(resumed_from_);
    step_ = reader.state().step;
    consumed_samples_ = reader.state().consumed_samples;
    last_evaluation_ = evaluation_of_extra(reader.state().extra_json);
    if (config.runtime.attention == "auto")
      attention_ = attention_of_extra(reader.state().extra_json);
    const std::string differences = model_differences(reader.state().model_json, config.model);
    if (!differences.empty())
      throw DataError(concat(resumed_from_, " holds another model: ", differences,
                             ". Use another checkpoint.directory, or checkpoint.resume: none"));
    const std::string moved = split_differences(reader.state().extra_json, config);
    if (!moved.empty())
      throw ConfigError(
          concat(resumed_from_, ": ", moved,
                 ". Documents would move between training and validation: keep both"));
    if (tokenizer_ && reader.has_attachment("tokenizer.json") &&
        reader.attachment("tokenizer.json") != tokenizer_->to_json())
      throw ConfigError(concat(resumed_from_,
                               " was trained with another tokenizer: the same numbers "
                               "would be other text. Prepare the data with ",
                               resumed_from_, "/tokenizer.json, or set checkpoint.resume: none"));
  });
  return step_ >= config.training.train_iters;
}

void Trainer::restore_or_initialise() {
  agree(*all_, "loading the parameters", [&] {
    if (resumed_from_.empty()) {
      parameters::initialise(runtime_->store(), loaded_.config.training.seed, *backend_->device,
                             *backend_->ops, threads_);
      return;
    }
    checkpoint::Reader reader(resumed_from_);
    checkpoint::load_parameters(reader, runtime_->store(), *backend_->device, *backend_->ops);
  });
  const auto wanted = loaded_.config.training.eval_iters;
  const auto counts =
      all_->all_gather(std::to_string(samples_ ? samples_->evaluation_batches(wanted) : -1),
                       [] { return "comparing the size of the validation share"; });
  for (const std::string& count : counts)
    evaluation_batches_ = std::max<std::int64_t>(evaluation_batches_, std::stoll(count));
}

void Trainer::announce() {
  const auto& config = loaded_.config;
  const auto memory = all_->all_gather(base::bytes_text(runtime_->plan().planned_bytes()),
                                       [] { return "gathering the planned memory"; });
  for (const auto& [name, text] : libraries()) log(concat(name, ": ", text));
  log(concat("device: ", backend_->device->description(), "; planned ",
             memory[static_cast<std::size_t>(world_.rank())], " of device memory, ",
             base::bytes_text(runtime_->plan().host_bytes), " of host memory"));
  if (!first()) return;
  // Not earlier: a start anew that fails its checks must not empty the metrics of the run before.
  metrics_ = std::make_unique<metrics::MetricsFile>(run_directory_ + "/metrics.jsonl",
                                                    config.checkpoint.resume != "none");
  std::string lengths;
  for (std::int64_t length : job_.segment_lengths)
    lengths += concat(lengths.empty() ? "" : "+", length);
  progress_->message(concat(config.model.family, " with ", count_text(job_.parameters()),
                            " parameters, ", world_.size(), " rank", world_.size() == 1 ? "" : "s",
                            " on ", backend_->device->description()));
  progress_->message(
      concat("schedule ", config.schedule.name, ": ", config.parallel.pipeline_model_parallel_size,
             " stages, ", job_.derived.micro_batches, " micro-batches of ",
             config.training.micro_batch_size, " x ", lengths, " tokens, simulated bubble ",
             three_digits(100 * simulated_bubble_), " %"));
  progress_->message(concat("planned memory by rank: ", base::join(memory)));
  base::atomic_write_file(run_directory_ + "/config.resolved.yaml",
                          config::to_yaml(config, &loaded_.origins));
  if (attention_)
    base::atomic_write_file(run_directory_ + "/attention.json", attention_json(*attention_));
  base::atomic_write_file(run_directory_ + "/schedule.svg",
                          simulate::to_svg(job_.training, job_.simulated(false), schedule_title()));
  if (!resumed_from_.empty()) {
    progress_->message(concat("resumed from ", resumed_from_, " at step ", step_));
    metrics_->write_event("resume", concat("{\"step\": ", step_, "}"));
  }
  if (evaluation_batches_ == 0)
    progress_->message("no evaluation: data.split leaves less than one window for validation");
}

int Trainer::run() {
  set_up();
  const auto& training = loaded_.config.training;
  const auto& saving = loaded_.config.checkpoint;
  if (step_ >= training.train_iters) {
    if (first()) {
      progress_->message(
          concat("already complete: ", step_, " of ", training.train_iters, " steps"));
      report_end(resumed_from_);
    }
    return kExitComplete;
  }
  agree(*all_, "writing run_info.json", [&] {
    if (first())
      metrics::write_run_info(run_directory_ + "/run_info.json",
                              {.command_line = command_line_,
                               .world_size = world_.size(),
                               .device = backend_->device->description(),
                               .origins = loaded_.origins,
                               .libraries = libraries()});
  });
  agree(*all_, "writing the run directory", [&] { announce(); });

  const std::int64_t first_step = step_;
  while (step_ < training.train_iters) {
    const bool warm_up = step_ == first_step;
    const metrics::StepMetrics shown = step(step_ + 1);
    ++step_;
    if (warm_up) log_memory();
    consumed_samples_ += training.global_batch_size;
    if (first()) {
      progress_->show(shown);
      metrics_->write(shown);
    }
    const bool last = step_ == training.train_iters;
    if (last || (training.eval_interval > 0 && step_ % training.eval_interval == 0))
      last_evaluation_ = evaluate(step_);
    if ((last && saving.save_interval >= 0) ||
        (saving.save_interval > 0 && step_ % saving.save_interval == 0))
      save();
  }
  if (first()) report_end(resumed_from_);
  draw_measured();
  return kExitComplete;
}

std::map<std::string, std::string> Trainer::libraries() const {
  std::map<std::string, std::string> names{{"communication", fabric_->description()}};
  if (const auto* module = runtime::module_of(loaded_.config.runtime))
    names["cuda"] = module->libraries();
  return names;
}

std::string Trainer::schedule_title() const {
  const auto& config = loaded_.config;
  return concat(config.schedule.name, ", ", config.parallel.pipeline_model_parallel_size,
                " ranks, ", job_.derived.micro_batches, " micro-batches of ",
                job_.segment_lengths.size(), " segments");
}

// The last step as it was, beside the picture of how it should be. Collective.
void Trainer::draw_measured() {
  const simulate::Timeline timeline = measured_timeline(runtime_->training_loop(), *all_);
  agree(*all_, "drawing the measured step", [&] {
    if (!first() || timeline.makespan == 0) return;
    base::atomic_write_file(
        run_directory_ + "/measured.svg",
        simulate::to_svg(job_.training, timeline,
                         concat(schedule_title(), ", step ", step_, " as measured",
                                compute_is_shared_ ? " (ranks share their cores or GPU)" : "")));
    progress_->message(concat("as measured       ", run_directory_, "/measured.svg"));
  });
}

// What the device holds beside the plan, once everything has run.
void Trainer::log_memory() {
  const runtime::RankPlan& plan = runtime_->plan();
  const kernels::Device::Records records = backend_->device->records();
  const std::size_t of_operations = backend_->ops->library_bytes();
  const std::size_t of_messages = fabric_->library_bytes();
  if (backend_->device->is_host())
    return log(concat("after the first step: planned ", base::bytes_text(plan.planned_bytes()),
                      ", libraries hold ", base::bytes_text(of_operations + of_messages),
                      " beside the plan"));
  log(concat("after the first step: planned ", base::bytes_text(plan.planned_bytes()),
             " of device memory; kernels, libraries, communicators and records hold ",
             base::bytes_text(of_operations), " of it beside the plan, communication ",
             base::bytes_text(of_messages), " of host memory"));
  if (records.count > 0)
    log(concat("of it ", records.count, " records of actions ",
               records.bytes > 0 ? base::bytes_text(records.bytes) : "of unknown size",
               " (planned: ", plan.training.records() + plan.evaluation.records(),
               " records, estimated at ", base::bytes_text(plan.record_bytes), ")"));
}

metrics::StepMetrics Trainer::step(std::int64_t number) {
  const config::Config& config = loaded_.config;
  const double start = base::monotonic_seconds();
  const double learning_rate =
      optimizer::learning_rate(config.optimizer, number, config.training.train_iters);
  if (samples_) samples_->training_batch(consumed_samples_, batch_);

  const StepResult result = step_runner_->run(batch_, number, learning_rate);
  if (!result.finite)
    throw AgreedError(kExitDiverged,
                      concat("step ", number, ": the loss is ", result.loss,
                             " and the gradient norm ", result.grad_norm,
                             "; nothing was saved. Try a smaller optimizer.lr or a longer "
                             "optimizer.lr_warmup_iters, and resume from the last checkpoint"));

  metrics::StepMetrics shown;
  shown.step = number;
  shown.total_steps = config.training.train_iters;
  shown.loss = result.loss;
  shown.grad_norm = result.grad_norm;
  shown.learning_rate = learning_rate;
  shown.step_seconds = base::monotonic_seconds() - start;
  shown.tokens_per_second = static_cast<double>(job_.derived.tokens_per_step) / shown.step_seconds;
  shown.model_tflops = job_.model_flops_per_step() / shown.step_seconds / 1e12;
  // Waiting says nothing about the schedule where ranks wait for cores, or for one GPU.
  shown.bubble_measured = !compute_is_shared_;
  shown.bubble = compute_is_shared_ ? simulated_bubble_ : result.bubble;
  average_step_seconds_ = average_step_seconds_ == 0
                              ? shown.step_seconds
                              : 0.9 * average_step_seconds_ + 0.1 * shown.step_seconds;
  shown.eta_seconds =
      average_step_seconds_ * static_cast<double>(config.training.train_iters - number);
  shown.consumed_samples = consumed_samples_ + config.training.global_batch_size;
  return shown;
}

std::optional<Evaluation> Trainer::evaluate(std::int64_t step) {
  if (evaluation_batches_ == 0) return std::nullopt;
  std::array<double, 3> sums{};  // loss, tokens, bytes
  for (std::int64_t index = 0; index < evaluation_batches_; ++index) {
    if (samples_) samples_->evaluation_batch(index, batch_);
    sums[0] += runtime_->evaluate_pass(batch_, step).loss_sum;
    // Exactly one rank has the head; only it counts what the loss was summed over.
    if (!runtime_->has_head()) continue;
    const LabelCount count =
        count_labels(batch_, loaded_.config.training.seq_length, tokenizer_.get());
    sums[1] += static_cast<double>(count.tokens);
    sums[2] += static_cast<double>(count.bytes);
  }
  all_->all_reduce_sum(sums, [&] { return concat("reducing an evaluation (step ", step, ")"); });
  Evaluation evaluation;
  evaluation.tokens = static_cast<std::int64_t>(sums[1]);
  evaluation.loss = sums[0] / sums[1];
  if (sums[2] > 0) evaluation.bits_per_byte = sums[0] / std::numbers::ln2 / sums[2];
  if (first()) {
    progress_->message(concat(
        "step ", step, ": validation loss ", three_digits(evaluation.loss),
        sums[2] > 0 ? concat(", ", three_digits(evaluation.bits_per_byte), " bits per byte") : ""));
    metrics_->write_event(
        "evaluation",
        concat("{\"step\": ", step, ", \"evaluation\": ", evaluation_json(evaluation), "}"));
  }
  return evaluation;
}

void Trainer::save() {
  const double start = base::monotonic_seconds();
  checkpoint::TrainingState state;
  state.step = step_;
  state.consumed_samples = consumed_samples_;
  state.consumed_tokens = consumed_samples_ * loaded_.config.training.seq_length;
  state.model_json = model_json(loaded_.config.model);
  state.extra_json = extra_json(loaded_.config, last_evaluation_, attention_);
  checkpoint::Attachments attachments;
  attachments["config.resolved.yaml"] = config::to_yaml(loaded_.config);
  if (tokenizer_) attachments["tokenizer.json"] = tokenizer_->to_json();
  const auto& saving = loaded_.config.checkpoint;
  try {
    checkpoint::Writer writer(run_directory_, step_, *all_);
    checkpoint::save_parameters(writer, runtime_->store(), *backend_->device);
    resumed_from_ = writer.commit(state, attachments, saving.keep_last, saving.keep_every);
  } catch (const DataError& error) {  // the writer throws the same on all ranks
    throw AgreedError(error.code(), error.what());
  }
  log(concat("saved ", resumed_from_, " in ", base::monotonic_seconds() - start, " s"));
  if (first()) progress_->message(concat("step ", step_, ": saved ", resumed_from_));
}

void Trainer::report_end(const std::string& checkpoint) {
  if (last_evaluation_) {
    progress_->message(concat("validation loss   ", three_digits(last_evaluation_->loss), " over ",
                              last_evaluation_->tokens, " tokens"));
    if (last_evaluation_->bits_per_byte > 0)
      progress_->message(concat("validation        ", three_digits(last_evaluation_->bits_per_byte),
                                " bits per byte"));
  }
  progress_->message(concat("schedule picture  ", run_directory_, "/schedule.svg"));
  progress_->message(concat("checkpoint        ", checkpoint.empty()
                                                      ? "none: checkpoint.save_interval is -1"
                                                      : checkpoint));
}

}  // namespace seq1f1b::train
