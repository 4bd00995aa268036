#pragma once
// What a model is, after families and defaults are resolved; and its rows of the parameter table.
#include <cstdint>

#include "core/config/config.h"
#include "core/parameters/table.h"
#include "kernels/ops.h"

namespace seq1f1b::model {

enum class Activation : std::uint8_t { kGelu, kSwiglu };

// Elements of logits that exist at a time. A chunk of rows costs three products and a pass over the
// fp32 gradient of the head's matrix, 8 bytes read and written per element of it: on processors 16
// MiB of fp32 logits are many rows enough. A GPU that multiplies a few hundred times as fast as it
// reads memory needs thousands of rows to hide that pass: 2^28 elements are 5336 rows of a
// vocabulary of 50304, 512 MiB in bf16; the plan counts them.
inline constexpr std::int64_t kHostLogitElements = std::int64_t{1} << 22;
inline constexpr std::int64_t kCudaLogitElements = std::int64_t{1} << 28;

struct ModelSpec {
  int layers = 0;
  std::int64_t hidden = 0, heads = 0, kv_heads = 0, head_dim = 0, ffn = 0, vocab = 0;
  std::int64_t positions = 0;  // learned positions; 0 with rotary ones
  kernels::Rotary rotary;
  kernels::NormKind norm = kernels::NormKind::kLayerNorm;
  Activation activation = Activation::kGelu;
  bool bias = true;  // of linear layers; layernorm always has one, rmsnorm never
  bool tied = true;  // the head uses the token embedding
  double norm_epsilon = 1e-5;
  double init_std = 0.02;
  std::int64_t logit_elements = kHostLogitElements;  // of one chunk of the head's logits

  std::int64_t query_width() const { return heads * head_dim; }
  std::int64_t projected_width() const { return (heads + 2 * kv_heads) * head_dim; }
  std::int64_t ffn_in_width() const { return activation == Activation::kSwiglu ? 2 * ffn : ffn; }
  bool norm_bias() const { return norm == kernels::NormKind::kLayerNorm; }
};

// `config` is resolved and validated; vocab_size is known.
ModelSpec model_spec(const config::ModelConfig& config);

// Rows of one chunk of the head for a unit of `rows` rows: a multiple of 16, or all.
std::int64_t logit_rows(const ModelSpec& spec, std::int64_t rows);

// Every tensor in canonical order. Names are listed in docs/checkpoint.md.
parameters::Table parameter_table(const ModelSpec& spec);

// The layers of one stage. Embedding and head are layers like the blocks.
struct StageLayers {
  bool embedding = false;
  int first_block = 0, blocks = 0;
  bool head = false;
};
// Blocks as even as possible; the first stages take the remainder, because the last has the head.
StageLayers stage_layers(int layers, int stages, int stage);
bool uses_on_stage(const StageLayers& stage, const parameters::Use& use);

}  // namespace seq1f1b::model
