#include "core/config/schema.h"

#include <algorithm>

#include "core/config/families.h"
#include "core/schedule/catalogue.h"
#include "kernels/common/limits.h"

namespace seq1f1b::config {
namespace {

// Bounds far beyond use, within which no product of a tensor's sizes overflows and a table with a
// row for each layer stays small.
constexpr double kMostWide = 1 << 24;
constexpr double kMostLayers = 1 << 16;
constexpr double kMostThreads = 1 << 12;  // a team of 100000 overflows libgomp's stack
constexpr double kMostSeconds = 1e8;      // three years; nanoseconds in 64 bits end at 9.2e9
constexpr double kMostRanks = 1 << 15;
constexpr double kMostSteps = 1e9;

// Adds the rows of one section, whose struct is the member `section` of Config.
template <class Section>
class Rows {
 public:
  Rows(std::vector<Field>& fields, std::string name, Section Config::*section)
      : fields_(fields), name_(std::move(name)), section_(section) {}

  template <class Value>
  Field& add(std::string key, Value Section::*member, std::string help) {
    Field field;
    field.section = name_;
    field.key = std::move(key);
    field.help = std::move(help);
    const auto section = section_;
    field.member = [section, member](Config& config) -> Member {
      return &(config.*section.*member);
    };
    field.value = [section, member](const Config& config) -> ConstMember {
      return &(config.*section.*member);
    };
    fields_.push_back(std::move(field));
    return fields_.back();
  }

 private:
  std::vector<Field>& fields_;
  std::string name_;
  Section Config::*section_;
};

void model_rows(std::vector<Field>& fields) {
  using M = ModelConfig;
  Rows<M> rows(fields, "model", &Config::model);
  rows.add("family", &M::family, "preset of the keys marked (family)")
      .one_of(family_names())
      .also_called({"model_type", "architecture"});
  rows.add("num_layers", &M::num_layers, "transformer blocks")
      .at_least(1)
      .at_most(kMostLayers)
      .also_called({"n_layer", "n_layers", "num_hidden_layers", "layers"});
  rows.add("hidden_size", &M::hidden_size, "width of the residual stream")
      .at_least(1)
      .at_most(kMostWide)
      .also_called({"n_embd", "d_model", "dim", "hidden_dim"});
  rows.add("num_attention_heads", &M::num_attention_heads, "query heads per block")
      .at_least(1)
      .at_most(kMostWide)
      .also_called({"n_head", "n_heads", "num_heads"});
  rows.add("num_query_groups", &M::num_query_groups, "key/value heads; 0: as many as query heads")
      .at_least(0)
      .also_called({"num_key_value_heads", "num_kv_heads", "n_kv_head", "n_kv_heads"});
  rows.add("kv_channels", &M::kv_channels,
           "dimension of a head; 0: hidden_size / num_attention_heads")
      .at_least(0)
      .at_most(kernels::kMaxHeadDim)
      .also_called({"head_dim", "head_size"});
  rows.add("ffn_hidden_size", &M::ffn_hidden_size,
           "width of the MLP; 0: 4 * hidden_size, for swiglu 8/3 * hidden_size rounded up to 64")
      .at_least(0)
      .at_most(4 * kMostWide)
      .also_called({"intermediate_size", "n_inner", "d_ff"});
  rows.add("vocab_size", &M::vocab_size, "tokens in the vocabulary; 0: the tokenizer's")
      .at_least(0)
      .also_called({"n_vocab", "padded_vocab_size"});
  rows.add("max_position_embeddings", &M::max_position_embeddings,
           "learned positions, in tokens; 0: seq_length")
      .at_least(0)
      .also_called({"n_positions", "n_ctx"});
  rows.add("normalization", &M::normalization, "norm before each half block and the head")
      .one_of({"layernorm", "rmsnorm"})
      .by_family()
      .also_called({"norm", "norm_type"});
  rows.add("position_embedding", &M::position_embedding,
           "how positions are embedded: a learned table, or rotated queries and keys")
      .one_of({"learned", "rotary"})
      .by_family()
      .also_called({"position_embedding_type", "pos_emb", "use_rotary_position_embeddings"});
  rows.add("activation", &M::activation, "MLP: gelu (tanh form) or gated swiglu")
      .one_of({"gelu", "swiglu"})
      .by_family()
      .also_called({"activation_function", "hidden_act", "activation_func", "swiglu"});
  rows.add("add_bias_linear", &M::add_bias_linear, "biases of linear layers")
      .one_of({"true", "false"})
      .by_family()
      .also_called({"bias", "disable_bias_linear", "use_bias"});
  rows.add("tie_embeddings", &M::tie_embeddings, "the head uses the token embedding")
      .one_of({"true", "false"})
      .by_family()
      .also_called({"tie_word_embeddings", "untie_embeddings_and_output_weights",
                    "share_embeddings_and_output_weights"});
  rows.add("norm_epsilon", &M::norm_epsilon, "added to the variance in norms")
      .above(0)
      .representable()
      .also_called({"layer_norm_epsilon", "layernorm_epsilon", "rms_norm_eps", "norm_eps"});
  rows.add("rotary_base", &M::rotary_base, "base of the rotary frequencies")
      .above(0)
      .representable()
      .also_called({"rope_theta", "rope_base"});
  rows.add("rotary_percent", &M::rotary_percent, "fraction of the head dimensions rotated")
      .above(0)
      .representable()
      .at_most(1)
      .also_called({"rotary_pct", "partial_rotary_factor"});
  rows.add("init_method_std", &M::init_method_std, "standard deviation of initial weights")
      .above(0)
      .representable()
      .also_called({"initializer_range", "init_std"});
}

void parallel_rows(std::vector<Field>& fields) {
  using P = ParallelConfig;
  Rows<P> rows(fields, "parallel", &Config::parallel);
  rows.add("tensor_model_parallel_size", &P::tensor_model_parallel_size,
           "tp, ranks that share each layer; 1 today")
      .at_least(1)
      .at_most(kMostRanks)
      .also_called({"tp", "tp_size", "tensor_parallel_size", "model_parallel_size"});
  rows.add("context_parallel_size", &P::context_parallel_size,
           "cp, ranks that share each sequence; 1 today")
      .at_least(1)
      .at_most(kMostRanks)
      .also_called({"cp", "cp_size"});
  rows.add("pipeline_model_parallel_size", &P::pipeline_model_parallel_size,
           "pp, ranks of the pipeline")
      .at_least(1)
      .at_most(kMostRanks)
      .also_called({"pp", "pp_size", "pipeline_parallel_size", "pipe_parallel_size",
                    "pipeline_parallel_degree"});
  rows.add("virtual_pipeline_model_parallel_size", &P::virtual_pipeline_model_parallel_size,
           "vpp, stages per rank; 2 or more for interleaved and seq1f1b-i, 1 for all others")
      .at_least(1)
      .at_most(kMostRanks)
      .also_called({"vpp", "vpp_size", "num_model_chunks"});
}

void schedule_rows(std::vector<Field>& fields) {
  using S = ScheduleConfig;
  Rows<S> rows(fields, "schedule", &Config::schedule);
  rows.add("name", &S::name, "order of forwards and backwards")
      .one_of(schedule::training_schedule_names())
      .also_called({"schedule", "pp_engine", "type"});
  rows.add("segments", &S::segments,
           "k, segments per sequence; 1 for gpipe, 1f1b, interleaved and zb-h1")
      .at_least(1)
      .also_called({"pipe_sp_splits", "k", "num_segments", "splits"});
  rows.add("partition", &S::partition,
           "how segments are cut: equal tokens, equal FLOPs of the blocks, the FLOPs that the "
           "method's authors count, or [a, b, ...] for explicit lengths")
      .one_of({"even", "flops", "authors", "lengths"})
      .also_called({"pipe_sp_strategy", "strategy"});
  rows.add("segment_lengths", &S::segment_lengths, "tokens per segment, with partition: lengths")
      .at_least(1)
      .also_called({"lengths"});
  rows.add("alignment", &S::alignment, "tokens; segments but the first are multiples of it")
      .at_least(1)
      .also_called({"align"});
}

void training_rows(std::vector<Field>& fields) {
  using T = TrainingConfig;
  Rows<T> rows(fields, "training", &Config::training);
  // Positions and segment lengths are 32-bit in kernels and messages.
  rows.add("seq_length", &T::seq_length, "tokens per sequence")
      .at_least(1)
      .at_most(std::numeric_limits<std::int32_t>::max())
      .also_called({"sequence_length", "seq_len", "block_size", "context_length", "max_seq_len"});
  rows.add("micro_batch_size", &T::micro_batch_size, "sequences per micro-batch")
      .at_least(1)
      .also_called({"micro_batch", "train_micro_batch_size_per_gpu", "batch_size", "mbs"});
  rows.add("global_batch_size", &T::global_batch_size, "sequences per step, all replicas")
      .at_least(1)
      .at_most(kMostWide)
      .also_called({"global_batch", "train_batch_size", "gbs", "total_batch_size"});
  rows.add("train_iters", &T::train_iters, "optimizer steps")
      .at_least(1)
      .at_most(kMostSteps)
      .also_called({"max_steps", "steps", "train_steps", "max_iters", "iterations"});
  rows.add("seed", &T::seed, "of initial weights and of the order of the data");
  rows.add("eval_interval", &T::eval_interval, "steps between evaluations; 0: only at the end")
      .at_least(0)
      .also_called({"eval_every", "val_check_interval"});
  rows.add("eval_iters", &T::eval_iters,
           "global batches per evaluation; 0: the whole validation split")
      .at_least(0)
      .also_called({"eval_steps", "limit_val_batches"});
}

void optimizer_rows(std::vector<Field>& fields) {
  using O = OptimizerConfig;
  Rows<O> rows(fields, "optimizer", &Config::optimizer);
  // One that is too large, by whatever factor, shows in weights or loss, which end the run.
  rows.add("lr", &O::lr, "highest learning rate")
      .above(0)
      .representable(false)
      .also_called({"learning_rate", "max_lr"});
  rows.add("min_lr", &O::min_lr, "learning rate after the decay")
      .at_least(0)
      .representable(false)
      .also_called({"lr_min", "end_lr", "min_learning_rate"});
  rows.add("lr_decay_style", &O::lr_decay_style, "course of the learning rate after warm-up")
      .one_of({"cosine", "linear", "constant"})
      .also_called({"lr_scheduler", "lr_schedule", "scheduler"});
  rows.add("lr_warmup_iters", &O::lr_warmup_iters, "steps of linear warm-up")
      .at_least(0)
      .also_called({"warmup", "warmup_steps", "warmup_iters", "lr_warmup_steps"});
  rows.add("lr_decay_iters", &O::lr_decay_iters, "steps until min_lr; 0: train_iters")
      .at_least(0)
      .also_called({"lr_decay_steps", "decay_iters"});
  rows.add("weight_decay", &O::weight_decay, "decoupled; not on norms and biases")
      .at_least(0)
      .representable()
      .also_called({"wd"});
  rows.add("adam_beta1", &O::adam_beta1, "decay of the first moment")
      .at_least(0)
      .below(1)
      .also_called({"beta1"});
  rows.add("adam_beta2", &O::adam_beta2, "decay of the second moment")
      .at_least(0)
      .below(1)
      .also_called({"beta2"});
  rows.add("adam_eps", &O::adam_eps, "added to the root of the second moment")
      .above(0)
      .representable()
      .also_called({"eps", "epsilon", "adam_epsilon"});
  rows.add("clip_grad", &O::clip_grad, "largest global gradient norm; 0: no clipping")
      .at_least(0)
      .representable()
      .also_called({"gradient_clipping", "max_norm", "grad_clip", "max_grad_norm"});
}

void data_rows(std::vector<Field>& fields) {
  using D = DataConfig;
  Rows<D> rows(fields, "data", &Config::data);
  rows.add("train", &D::train, "prefixes of .bin/.idx pairs, read one after the other")
      .also_called({"data_path", "train_data_path", "dataset", "path", "paths", "prefix"});
  rows.add("split", &D::split, "shares of the documents: training, validation, test");
  rows.add("tokenizer", &D::tokenizer,
           "file written by prepare; auto: that beside the prefixes, if there")
      .with_words({"auto"})
      .also_called({"tokenizer_model", "tokenizer_type", "vocab_file"});
  rows.add("on_change", &D::on_change,
           "a checkpoint trained on other files, split, seed or seq_length: refuse it, or go on "
           "from "
           "it and restart the order of samples")
      .one_of({"refuse", "restart"});
}

void checkpoint_rows(std::vector<Field>& fields) {
  using C = CheckpointConfig;
  Rows<C> rows(fields, "checkpoint", &Config::checkpoint);
  rows.add("directory", &C::directory, "run directory; checkpoints go to its checkpoints/")
      .also_called({"save", "out_dir", "output_dir", "dir", "folder"});
  rows.add("save_interval", &C::save_interval,
           "steps between checkpoints; 0: only at the end; -1: none, for trials of speed")
      .at_least(-1)
      .also_called({"checkpoint_interval", "save_every", "save_steps"});
  rows.add("resume", &C::resume,
           "auto: the latest, if any; none: begin anew; else the path of a checkpoint")
      .with_words({"auto", "none"})
      .also_called({"load", "resume_from_checkpoint"});
  rows.add("keep_last", &C::keep_last, "newest checkpoints kept; 0: all")
      .at_least(0)
      .also_called({"save_total_limit", "keep"});
  rows.add("keep_every", &C::keep_every,
           "checkpoints at multiples of so many steps are never deleted; 0: none")
      .at_least(0);
}

void other_rows(std::vector<Field>& fields) {
  Rows<LoggingConfig> logging(fields, "logging", &Config::logging);
  logging.add("interval", &LoggingConfig::interval, "steps between progress lines")
      .at_least(1)
      .also_called({"log_interval", "log_every", "logging_steps"});

  using R = RuntimeConfig;
  Rows<R> rows(fields, "runtime", &Config::runtime);
  rows.add("device", &R::device,
           "auto: cuda where every rank can use a GPU, else cpu; reference: plain loops, slow, "
           "exact")
      .one_of({"auto", "cuda", "cpu", "reference"})
      .also_called({"backend", "accelerator"});
  rows.add("compute_dtype", &R::compute_dtype,
           "auto: bf16 on cuda, fp32 on cpu, fp64 on reference; masters and sums are fp32 or fp64")
      .one_of({"auto", "fp32", "fp64", "bf16"})
      .also_called({"dtype", "precision", "params_dtype", "bf16", "fp16"});
  rows.add("instruction_set", &R::instruction_set,
           "on cpu: the most that kernels and libraries use, for the same bits on several kinds of "
           "processors; auto: the best that every rank has")
      .one_of({"auto", "avx512", "avx2", "baseline"})
      .also_called({"isa", "simd"});
  rows.add("attention", &R::attention,
           "on cuda: this program's kernels, or cuDNN's; auto: the faster for each length of "
           "segments, "
           "timed before the first step")
      .one_of({"own", "cudnn", "auto"})
      .also_called(
          {"attention_backend", "flash_attention", "use_flash_attn", "attn_implementation"});
  rows.add("deterministic", &R::deterministic,
           "on cuda, false: faster kernels that give other bits every time")
      .one_of({"true", "false"})
      .also_called({"deterministic_mode", "use_deterministic_algorithms"});
  rows.add("cuda_graphs", &R::cuda_graphs,
           "on cuda: capture every action as a graph once and replay it")
      .one_of({"true", "false"})
      .also_called({"enable_cuda_graph", "use_cuda_graphs", "graphs"});
  rows.add("threads", &R::threads, "per rank; 0: its cores / ranks that share them")
      .at_least(0)
      .at_most(kMostThreads)
      .also_called({"num_threads", "omp_num_threads"});
  rows.add("deadline_seconds", &R::deadline_seconds,
           "longest wait for a peer, a file or a driver, in seconds")
      .above(0)
      .at_most(kMostSeconds)
      .also_called({"timeout", "distributed_timeout_minutes"});
  rows.add("grace_seconds", &R::grace_seconds,
           "after an expired deadline, in seconds, so that all ranks can report")
      .at_least(0)
      .at_most(kMostSeconds);
}

std::vector<Field> make_schema() {
  std::vector<Field> fields;
  model_rows(fields);
  parallel_rows(fields);
  schedule_rows(fields);
  training_rows(fields);
  optimizer_rows(fields);
  data_rows(fields);
  checkpoint_rows(fields);
  other_rows(fields);
  return fields;
}

}  // namespace

Field& Field::at_least(double min) {
  range.min = min;
  return *this;
}
Field& Field::above(double min) {
  range.min = min;
  range.above_min = true;
  return *this;
}
Field& Field::at_most(double max) {
  range.max = max;
  return *this;
}
Field& Field::below(double max) {
  range.max = max;
  range.below_max = true;
  return *this;
}
Field& Field::one_of(std::vector<std::string> texts) {
  allowed = std::move(texts);
  return *this;
}
Field& Field::with_words(std::vector<std::string> texts) {
  words = std::move(texts);
  return *this;
}
Field& Field::representable(bool finite) {
  single = {.nonzero = true, .finite = finite};
  return *this;
}
Field& Field::by_family() {
  preset = true;
  return *this;
}
Field& Field::also_called(std::vector<std::string> names) {
  aliases = std::move(names);
  return *this;
}

const std::vector<Field>& schema() {
  static const std::vector<Field> kFields = make_schema();
  return kFields;
}

const std::vector<std::string>& section_names() {
  static const std::vector<std::string> kNames = [] {
    std::vector<std::string> names;
    for (const Field& field : schema())
      if (names.empty() || names.back() != field.section) names.push_back(field.section);
    return names;
  }();
  return kNames;
}

bool is_section(const std::string& name) {
  return std::ranges::find(section_names(), name) != section_names().end();
}

const Field* find_field(const std::string& section, const std::string& key) {
  const auto found = std::ranges::find_if(
      schema(), [&](const Field& field) { return field.section == section && field.key == key; });
  return found == schema().end() ? nullptr : &*found;
}

}  // namespace seq1f1b::config
