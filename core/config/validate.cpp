// Cross-field checks. Each failing equation becomes one sentence with its numbers and with what
// would be legal instead.
#include <algorithm>
#include <cfloat>
#include <cmath>
#include <filesystem>
#include <map>
#include <numeric>
#include <sstream>

#include "core/base/text.h"
#include "core/base/user_path.h"
#include "core/config/compute_dtype.h"
#include "core/config/load.h"
#include "core/config/problems.h"
#include "core/config/schema.h"
#include "core/config/split.h"
#include "core/schedule/catalogue.h"

namespace seq1f1b::config {
namespace {

// "8 or 12": the multiples of `base` around `value`.
std::string multiples_around(std::int64_t value, std::int64_t base) {
  const std::int64_t below = value / base * base;
  if (below == 0) return std::to_string(base);
  return concat(below, " or ", below + base);
}

// "2 or 4": the divisors of `number` around `value`.
std::string divisors_around(std::int64_t value, std::int64_t number) {
  std::int64_t below = 0, above = 0;
  for (std::int64_t divisor = 1; divisor <= number && above == 0; ++divisor) {
    if (number % divisor != 0) continue;
    (divisor < value ? below : above) = divisor;
  }
  if (below == 0 || above == 0) return std::to_string(std::max(below, above));
  return concat(below, " or ", above);
}

// Of the head dimension in bf16; what else cuDNN refuses depends on its version and the GPU (NVIDIA
// cuDNN frontend, "Scaled Dot Product Attention").
constexpr int kCudnnHeadMultiple = 8;

class Validator {
 public:
  Validator(const Config& config, int world_size, const Origins* origins)
      : config_(config), model_(config.model), world_size_(world_size), origins_(origins) {}

  Derived run() {
    for (const Field& field : schema()) {
      const std::string problem = value_problem(field, config_);
      if (!problem.empty()) problems_.add(field.name(), ": ", problem);
    }
    // Sizes below their range would make the equations meaningless.
    throw_if_any();
    check_model();
    check_ranks();
    check_batch();
    check_schedule();
    check_optimizer();
    check_precision();
    check_data();
    check_paths();
    check_device();
    throw_if_any();
    return derived_;
  }

 private:
  void throw_if_any() {
    if (origins_ != nullptr) problems_.tell_overrides(*origins_);
    problems_.throw_if_any();
  }

  void check_model() {
    const int heads = model_.num_attention_heads;
    if (model_.kv_channels == 0) {
      problems_.add("model.hidden_size (", model_.hidden_size,
                    ") must be a multiple of model.num_attention_heads (", heads, "): use ",
                    multiples_around(model_.hidden_size, heads), ", or set model.kv_channels");
    }
    if (model_.num_query_groups > 0 && heads % model_.num_query_groups != 0) {
      problems_.add("model.num_attention_heads (", heads,
                    ") must be a multiple of model.num_query_groups (", model_.num_query_groups,
                    "): use ", divisors_around(model_.num_query_groups, heads), " groups");
    }
    const std::int64_t tokens = config_.training.seq_length;
    if (model_.position_embedding == "learned" && model_.max_position_embeddings < tokens) {
      problems_.add("model.max_position_embeddings (", model_.max_position_embeddings,
                    ") must be at least training.seq_length (", tokens,
                    ") with learned positions; 0 takes the sequence length");
    }
    if (model_.position_embedding == "rotary") check_rotary();
  }

  void check_rotary() {
    if (model_.max_position_embeddings != 0) {
      problems_.add("model.max_position_embeddings (", model_.max_position_embeddings,
                    ") has no meaning with rotary positions: remove it");
    }
    if (model_.kv_channels == 0) return;  // already refused
    const double dimensions = model_.kv_channels * model_.rotary_percent;
    const auto pairs = static_cast<std::int64_t>(std::llround(dimensions / 2));
    if (pairs < 1 || std::abs(dimensions - 2.0 * static_cast<double>(pairs)) > 1e-6) {
      problems_.add("rotary positions turn pairs: model.kv_channels (", model_.kv_channels,
                    ") * model.rotary_percent (", model_.rotary_percent, ") = ", dimensions,
                    " must be an even number of dimensions, 2 or more");
    }
  }

  void check_ranks() {
    const ParallelConfig& parallel = config_.parallel;
    const std::int64_t tp = parallel.tensor_model_parallel_size;
    const std::int64_t cp = parallel.context_parallel_size;
    const std::int64_t pp = parallel.pipeline_model_parallel_size;
    const std::int64_t vpp = parallel.virtual_pipeline_model_parallel_size;
    if (tp > 1) refuse_size("tensor_model_parallel_size", tp, "tensor parallelism");
    if (cp > 1) refuse_size("context_parallel_size", cp, "context parallelism");
    check_chunks();
    if (model_.num_layers < pp * vpp) {
      problems_.add("model.num_layers (", model_.num_layers, ") must be at least pp (", pp,
                    ") * vpp (", vpp, ") = ", pp * vpp, ", a layer for every stage: use ", pp * vpp,
                    " layers or more, or pp ", std::max<std::int64_t>(1, model_.num_layers / vpp),
                    " or less");
    }
    const std::int64_t model_ranks = tp * cp * pp;
    const std::int64_t world = world_size_ > 0 ? world_size_ : model_ranks;
    const std::int64_t replicas = world / model_ranks;
    if (world % model_ranks != 0) {
      problems_.add("world size ", world, " must be tp (", tp, ") * cp (", cp, ") * pp (", pp,
                    ") * dp = ", model_ranks, " * dp: start ", model_ranks, " ranks (mpirun -np ",
                    model_ranks, ")");
    } else if (replicas > 1) {
      problems_.add("world size ", world, " = tp (", tp, ") * cp (", cp, ") * pp (", pp,
                    ") * dp gives dp = ", replicas,
                    ", but data parallelism is not there yet: start ", model_ranks,
                    model_ranks == 1 ? " rank" : " ranks",
                    " or set parallel.pipeline_model_parallel_size to ", world / (tp * cp));
    }
    derived_.world_size = static_cast<int>(world);
    derived_.data_parallel_size = 1;  // more was refused, and makes no sense of the batch below
  }

  void check_chunks() {
    const schedule::CatalogueEntry* entry = schedule::find_schedule(config_.schedule.name);
    const int vpp = config_.parallel.virtual_pipeline_model_parallel_size;
    if (!entry || (vpp >= entry->least_chunks && vpp <= entry->most_chunks)) return;
    const bool several = vpp > 1;
    problems_.add("parallel.virtual_pipeline_model_parallel_size (", vpp, ") must be ",
                  entry->least_chunks, several ? "" : " or more", " with schedule.name ",
                  entry->name, "; schedules with ", several ? "several stages" : "one stage",
                  " per rank are ", names_of_chunks(several));
  }

  // Schedules with several stages per rank, or with one.
  static std::string names_of_chunks(bool several) {
    std::vector<std::string> names;
    for (const schedule::CatalogueEntry& entry : schedule::catalogue())
      if (entry.trains() && (entry.least_chunks > 1) == several) names.emplace_back(entry.name);
    return base::join(names);
  }

  void refuse_size(const char* key, std::int64_t value, const char* what) {
    problems_.add("parallel.", key, " = ", value, ": ", what, " is not there yet, use 1");
  }

  void check_batch() {
    const TrainingConfig& training = config_.training;
    const std::int64_t dp = derived_.data_parallel_size;
    const std::int64_t quantum = dp * training.micro_batch_size;
    if (training.global_batch_size % quantum != 0) {
      problems_.add("training.global_batch_size (", training.global_batch_size,
                    ") must be training.micro_batch_size (", training.micro_batch_size, ") * dp (",
                    dp, ") * a whole number of micro-batches: use ",
                    multiples_around(training.global_batch_size, quantum));
    }
    derived_.micro_batches = static_cast<int>(training.global_batch_size / quantum);
    derived_.tokens_per_step = training.global_batch_size * training.seq_length;
  }

  void check_schedule() {
    const ScheduleConfig& wanted = config_.schedule;
    const std::int64_t tokens = config_.training.seq_length;
    const int segments = wanted.segments;
    const auto* entry = schedule::find_schedule(wanted.name);
    if (segments > 1 && entry && !entry->splits_sequences())
      problems_.add("schedule.segments (", segments, ") must be 1 with schedule.name ", wanted.name,
                    ", which has whole sequences; with segments it is called ",
                    entry->with_segments);
    if (wanted.partition == "lengths") {
      check_lengths();
      return;
    }
    if (!wanted.segment_lengths.empty()) {
      problems_.add("schedule.segment_lengths goes with schedule.partition lengths, not ",
                    wanted.partition, ": remove one of them");
    }
    // Every segment but the first has at least one multiple of the alignment.
    const std::int64_t least = std::int64_t{segments - 1} * wanted.alignment + 1;
    if (tokens < least) {
      problems_.add("training.seq_length (", tokens, ") must be at least (schedule.segments (",
                    segments, ") - 1) * schedule.alignment (", wanted.alignment, ") + 1 = ", least,
                    ": use at most ", (tokens - 1) / wanted.alignment + 1, " segments");
    }
  }

  void check_lengths() {
    const ScheduleConfig& schedule = config_.schedule;
    const auto& lengths = schedule.segment_lengths;
    if (lengths.empty()) {
      problems_.add(
          "schedule.partition lengths needs schedule.segment_lengths, or write "
          "partition: [a, b, ...]");
      return;
    }
    if (lengths.size() != static_cast<std::size_t>(schedule.segments)) {
      problems_.add("schedule.segment_lengths has ", lengths.size(),
                    " lengths, but schedule.segments is ", schedule.segments);
    }
    // As double, a list of any lengths adds up without overflow.
    const double sum = std::accumulate(lengths.begin(), lengths.end(), 0.0);
    const auto tokens = static_cast<double>(config_.training.seq_length);
    if (sum != tokens) {
      std::ostringstream total;
      total.precision(17);
      total << sum << ", " << std::abs(sum - tokens) << (sum < tokens ? " less" : " more");
      problems_.add("schedule.segment_lengths must add up to training.seq_length (",
                    config_.training.seq_length, "): the sum is ", total.str());
    }
    for (std::size_t i = 1; i < lengths.size(); ++i) {
      if (lengths[i] % schedule.alignment == 0) continue;
      problems_.add("schedule.segment_lengths: the length ", lengths[i], " of segment ", i,
                    " (counted from 0) must be a multiple of schedule.alignment (",
                    schedule.alignment, "), as for all but the first: use ",
                    multiples_around(lengths[i], schedule.alignment));
    }
  }

  void check_optimizer() {
    const OptimizerConfig& optimizer = config_.optimizer;
    const std::int64_t iters = config_.training.train_iters;
    if (optimizer.lr_warmup_iters > iters) {
      problems_.add("optimizer.lr_warmup_iters (", optimizer.lr_warmup_iters,
                    ") must be at most training.train_iters (", iters, ")");
    } else if (optimizer.lr_warmup_iters > optimizer.lr_decay_iters) {
      problems_.add("optimizer.lr_warmup_iters (", optimizer.lr_warmup_iters,
                    ") must be at most optimizer.lr_decay_iters (", optimizer.lr_decay_iters, ")");
    }
    if (optimizer.min_lr > optimizer.lr) {
      problems_.add("optimizer.min_lr (", optimizer.min_lr, ") must be at most optimizer.lr (",
                    optimizer.lr, ")");
    }
  }

  // What fp32 takes for 0 or infinite would be another configuration, found as a loss that is not
  // finite, if at all.
  void check_precision() {
    if (compute_dtype(config_.runtime) == "fp64") return;
    for (const Field& field : schema()) {
      if (!field.single.nonzero) continue;
      const double value = *std::get<const double*>(field.value(config_));
      const double size = std::abs(value);
      if (value != 0 && size < FLT_MIN)
        problems_.add(field.name(), " (", value, ") is 0 in fp32, in which the run computes: use ",
                      FLT_MIN, " or more", field.range.contains(0) ? ", or 0" : "");
      if (field.single.finite && size > FLT_MAX)
        problems_.add(field.name(), " (", value,
                      ") is infinite in fp32, in which the run computes: use at most ", FLT_MAX);
    }
  }

  void check_data() {
    if (std::ranges::find(config_.data.train, "") != config_.data.train.end())
      problems_.add("data.train holds an empty prefix: name .bin/.idx pairs, or [] for none");
    // Links and copies are found when the files are opened.
    std::map<std::string, std::string> spellings;
    for (const std::string& prefix : config_.data.train) {
      const std::string plain = std::filesystem::path(prefix).lexically_normal().string();
      const auto [first, is_new] = spellings.emplace(plain, prefix);
      if (!is_new)
        problems_.add("data.train names ", first->second, " twice",
                      first->second == prefix ? "" : concat(" (as ", prefix, ")"),
                      ": its documents would be in training and in validation");
    }
    try {
      split_proportions(config_.data.split);
    } catch (const ConfigError& error) {
      problems_.add(error.what());
    }
  }

  void check_paths() {
    const auto check = [this](const char* key, const std::string& path) {
      const std::string problem = base::path_problem(path);
      if (!problem.empty()) problems_.add(key, ": ", problem);
    };
    for (const std::string& prefix : config_.data.train) check("data.train", prefix);
    check("data.tokenizer", config_.data.tokenizer);
    check("checkpoint.directory", config_.checkpoint.directory);
    check("checkpoint.resume", config_.checkpoint.resume);
  }

  void check_device() {
    const RuntimeConfig& runtime = config_.runtime;
    if (runtime.device != "auto" && runtime.device != "cuda") {
      const RuntimeConfig defaults;
      const auto of_cuda = [&](const char* key, const std::string& value,
                               const std::string& standard) {
        if (value != standard)
          problems_.add("runtime.", key, " ", value, " needs runtime.device cuda, not ",
                        runtime.device, ": remove it");
      };
      // "auto" takes what there is, and elsewhere there is one.
      if (runtime.attention != "auto") of_cuda("attention", runtime.attention, defaults.attention);
      of_cuda("deterministic", runtime.deterministic, defaults.deterministic);
      of_cuda("cuda_graphs", runtime.cuda_graphs, defaults.cuda_graphs);
    }
    if (runtime.instruction_set != "auto" && runtime.device != "auto" && runtime.device != "cpu")
      problems_.add("runtime.instruction_set ", runtime.instruction_set,
                    " needs runtime.device cpu, not ", runtime.device, ": remove it");
    if (runtime.attention == "cudnn" && runtime.compute_dtype == "fp32")
      problems_.add(
          "runtime.attention cudnn computes in bf16 only: use own, or runtime.compute_dtype bf16");
    if (runtime.attention == "cudnn" && model_.kv_channels % kCudnnHeadMultiple != 0)
      problems_.add("runtime.attention cudnn needs model.kv_channels (", model_.kv_channels,
                    ") to be a multiple of ", kCudnnHeadMultiple, ": use ",
                    multiples_around(model_.kv_channels, kCudnnHeadMultiple),
                    ", or runtime.attention own");
    if (runtime.compute_dtype == "auto") return;
    const auto dtypes = compute_dtypes(runtime.device);
    if (std::ranges::find(dtypes, runtime.compute_dtype) != dtypes.end()) return;
    std::string all, listed;
    for (const std::string& dtype : dtypes) {
      all += concat(all.empty() ? "" : " or ", dtype);
      listed += concat(listed.empty() ? "" : ", ", dtype);
    }
    problems_.add("runtime.compute_dtype ", runtime.compute_dtype,
                  " does not go with runtime.device ", runtime.device, ", which computes in ", all,
                  ": use ", listed, " or auto");
  }

  const Config& config_;
  const ModelConfig& model_;
  int world_size_;
  const Origins* origins_;  // null: not known
  Problems problems_;
  Derived derived_;
};

}  // namespace

Derived validate(const Config& config, int world_size, const Origins* origins) {
  return Validator(config, world_size, origins).run();
}

}  // namespace seq1f1b::config
