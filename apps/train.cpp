// `seq1f1b train`: reads and checks the configuration before anything is started.
#include <csignal>
#include <cstdint>
#include <iomanip>
#include <iostream>
#include <string>

#include "apps/commands.h"
#include "apps/launch.h"
#include "core/config/load.h"
#include "core/model/spec.h"
#include "core/train/run.h"
#include "kernels/common/errors.h"

namespace seq1f1b::apps {
namespace {

template <class Value>
void print_row(const std::string& name, const Value& value, const std::string& note = "") {
  std::cout << "  " << std::left << std::setw(22) << name << value;
  if (!note.empty()) std::cout << "  (" << note << ")";
  std::cout << "\n";
}

// As a floating-point number, since the product may pass 64 bits; exact up to 2^53.
double total_tokens(const config::Config& config, const config::Derived& derived) {
  return static_cast<double>(derived.tokens_per_step) *
         static_cast<double>(config.training.train_iters);
}

// Of the whole model, tied tensors once; unknown as long as only the tokenizer knows the
// vocabulary.
std::string parameter_count(const config::ModelConfig& model) {
  if (model.vocab_size == 0) return "known with the tokenizer, or with model.vocab_size";
  std::int64_t count = 0;
  for (const auto& row : model::parameter_table(model::model_spec(model))) count += row.elements();
  return std::to_string(count);
}

void print_derived(const config::Config& config, const config::Derived& derived) {
  const auto& model = config.model;
  const auto& training = config.training;
  const auto& parallel = config.parallel;
  std::cout << "derived values\n";
  print_row("ranks", derived.world_size,
            concat("tp ", parallel.tensor_model_parallel_size, " * cp ",
                   parallel.context_parallel_size, " * pp ", parallel.pipeline_model_parallel_size,
                   " * dp ", derived.data_parallel_size));
  print_row("micro-batches", derived.micro_batches, "per replica and step");
  print_row("segments", config.schedule.segments, "per sequence");
  print_row(
      "tokens per step", derived.tokens_per_step,
      concat("global batch ", training.global_batch_size, " * sequence ", training.seq_length));
  print_row("total tokens", concat(std::setprecision(16), total_tokens(config, derived)),
            concat(training.train_iters, " steps"));
  print_row("warm-up", config.optimizer.lr_warmup_iters,
            concat("steps, ", std::fixed, std::setprecision(1),
                   100.0 * static_cast<double>(config.optimizer.lr_warmup_iters) /
                       static_cast<double>(training.train_iters),
                   " % of the run"));
  print_row("learning rate decay", config.optimizer.lr_decay_iters,
            "steps, " + config.optimizer.lr_decay_style);
  print_row(
      "head dimension", model.kv_channels,
      concat(model.num_attention_heads, " heads, ", model.num_query_groups, " key/value heads"));
  print_row("MLP width", model.ffn_hidden_size, model.activation);
  print_row("parameters", parameter_count(model));
}

// What only training needs; `plan` and --dry-run do without.
void require_paths(const config::Config& config) {
  std::string problems;
  if (config.data.train.empty()) {
    problems +=
        "data.train is empty: list the prefix of at least one .bin/.idx pair "
        "(seq1f1b prepare writes them)";
  }
  if (config.checkpoint.directory.empty()) {
    problems += problems.empty() ? "" : "\n  ";
    problems += "checkpoint.directory is not set: name the run directory";
  }
  if (!problems.empty()) throw ConfigError(problems);
}

}  // namespace

int run_train(const TrainArguments& arguments) {
  const Launch launch = read_launch();
  const bool only_print = arguments.dry_run || arguments.print_config;
  config::Loaded loaded;
  config::Derived derived;
  // What is only printed is rank 0's business.
  if (only_print && launch.rank != 0) return kExitComplete;
  const std::optional<Error> failure = failure_of([&] {
    if (arguments.world_size > 0 && !only_print) {
      throw ConfigError(
          "--world-size goes with --dry-run or --print-config; a run has as many "
          "ranks as mpirun or srun starts");
    }
    loaded = config::load(arguments.config, arguments.overrides);
    config::resolve(loaded);
    int world_size = arguments.world_size;
    if (world_size == 0 && (launch.launched || !only_print)) world_size = launch.world_size;
    derived = config::validate(loaded.config, world_size, &loaded.origins);
    if (!only_print) require_paths(loaded.config);
  });
  if (failure && only_print) throw *failure;
  if (failure) return refuse(*failure);
  if (only_print) {
    if (arguments.print_config) std::cout << config::to_yaml(loaded.config, &loaded.origins);
    if (arguments.dry_run) print_derived(loaded.config, derived);
    return kExitComplete;
  }
  std::signal(SIGPIPE, SIG_IGN);  // whoever reads its lines may go away, and the run goes on
  return train::run({.loaded = std::move(loaded), .command_line = arguments.command_line});
}

}  // namespace seq1f1b::apps
