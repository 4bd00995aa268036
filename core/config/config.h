#pragma once
// The typed configuration: one struct per YAML section, defaults here and nowhere else. The schema
// (schema.h) names, describes and checks every field once, for YAML, overrides, help and dump
// alike.
#include <cstdint>
#include <string>
#include <vector>

namespace seq1f1b::config {

struct ModelConfig {
  std::string family = "gpt3";  // gpt3 | llama: presets of the choices marked (family)
  int num_layers = 12;
  int hidden_size = 768;
  int num_attention_heads = 12;
  int num_query_groups = 0;  // key/value heads; 0: as many as attention heads
  int kv_channels = 0;       // head dimension; 0: hidden_size / num_attention_heads
  int ffn_hidden_size =
      0;               // 0: 4 * hidden_size (gelu), 8/3 * hidden_size rounded up to 64 (swiglu)
  int vocab_size = 0;  // 0: the tokenizer's
  int max_position_embeddings = 0;  // learned positions only; 0: seq_length
  std::string normalization;        // layernorm | rmsnorm (family)
  std::string position_embedding;   // learned | rotary (family)
  std::string activation;           // gelu | swiglu (family)
  std::string add_bias_linear;      // "true" | "false" (family)
  std::string tie_embeddings;       // "true" | "false" (family)
  double norm_epsilon = 1e-5;
  double rotary_base = 10000.0;
  double rotary_percent = 1.0;  // fraction of the head dimensions rotated
  double init_method_std = 0.02;
};

struct ParallelConfig {
  int tensor_model_parallel_size = 1;
  int context_parallel_size = 1;
  int pipeline_model_parallel_size = 1;
  int virtual_pipeline_model_parallel_size = 1;
};

struct ScheduleConfig {
  std::string name = "seq1f1b";               // see core/schedule/catalogue.cpp
  int segments = 4;                           // k; 1 for schedules of whole sequences
  std::string partition = "flops";            // even | flops | authors | lengths
  std::vector<std::int64_t> segment_lengths;  // with partition: lengths (or partition: [a, b, ...])
  int alignment = 1;  // segment lengths are multiples of this, but for the first
};

struct TrainingConfig {
  std::int64_t seq_length = 1024;
  int micro_batch_size = 1;
  int global_batch_size = 8;
  std::int64_t train_iters = 100;
  std::uint64_t seed = 1234;
  std::int64_t eval_interval = 0;  // 0: only at the end
  std::int64_t eval_iters = 8;     // global batches per evaluation; 0: the whole validation split
};

struct OptimizerConfig {
  double lr = 3e-4;
  double min_lr = 3e-5;
  std::string lr_decay_style = "cosine";  // cosine | linear | constant
  std::int64_t lr_warmup_iters = 0;
  std::int64_t lr_decay_iters = 0;  // 0: train_iters
  double weight_decay = 0.1;
  double adam_beta1 = 0.9;
  double adam_beta2 = 0.95;
  double adam_eps = 1e-8;
  double clip_grad = 1.0;  // 0: no clipping
};

struct DataConfig {
  std::vector<std::string> train;  // prefixes of .bin/.idx pairs; concatenated
  std::string split = "949,50,1";  // train, validation, test shares of the documents
  std::string tokenizer =
      "auto";  // file written by `prepare`; auto: that beside the prefixes, if there
  std::string on_change = "refuse";  // refuse | restart: a checkpoint trained on other data
};

struct CheckpointConfig {
  std::string directory;           // the run directory, with checkpoints/ in it; empty: not set
  std::int64_t save_interval = 0;  // steps; 0: only at the end; -1: never
  std::string resume = "auto";     // auto | none | path of a checkpoint
  int keep_last = 3;               // complete checkpoints kept; 0: all
  std::int64_t keep_every = 0;     // steps that are multiples of this are never deleted; 0: none
};

struct LoggingConfig {
  std::int64_t interval = 10;  // steps between progress lines (the first step is always shown)
};

struct RuntimeConfig {
  std::string device = "auto";  // auto | cuda | cpu | reference
  std::string compute_dtype =
      "auto";  // auto: the device's (cuda: bf16, cpu: fp32, reference: fp64)
  // Of cpu alone: auto | avx512 | avx2 | baseline.
  std::string instruction_set = "auto";
  // CUDA only.
  std::string attention = "own";       // own | cudnn | auto: the faster, by length
  std::string deterministic = "true";  // "false": faster kernels whose sums run in any order
  std::string cuda_graphs = "true";    // capture every action once and replay it
  int threads = 0;                     // per rank; 0: its cores / ranks that share them, at least 1
  double deadline_seconds = 600;       // longest wait for a peer, a file or a driver
  double grace_seconds = 2;            // after an expired deadline, so that all ranks can report
};

struct Config {
  ModelConfig model;
  ParallelConfig parallel;
  ScheduleConfig schedule;
  TrainingConfig training;
  OptimizerConfig optimizer;
  DataConfig data;
  CheckpointConfig checkpoint;
  LoggingConfig logging;
  RuntimeConfig runtime;
};

// Config with every "0 means derived" filled in, and what follows from it.
struct Derived {
  int world_size = 1;  // tp * cp * pp * dp
  int data_parallel_size = 1;
  int micro_batches = 1;  // per replica and step: global_batch_size / (micro_batch_size * dp)
  std::int64_t tokens_per_step = 0;
};

}  // namespace seq1f1b::config
