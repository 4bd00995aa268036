#include "core/model/spec.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <initializer_list>
#include <string>
#include <utility>

#include "kernels/common/errors.h"

namespace seq1f1b::model {

using parameters::Initializer;
using parameters::ParameterInfo;
using parameters::Site;
using parameters::Table;
using parameters::Use;

namespace {

// What a word of the configuration means. It is validated, so that one which is not among them was
// added to the schema and forgotten here.
template <class Value>
Value meaning(const std::string& word,
              std::initializer_list<std::pair<const char*, Value>> meanings) {
  for (const auto& [known, value] : meanings)
    if (word == known) return value;
  throw InternalError(concat("the model does not know '", word, "'"));
}

}  // namespace

ModelSpec model_spec(const config::ModelConfig& config) {
  ModelSpec spec;
  spec.layers = config.num_layers;
  spec.hidden = config.hidden_size;
  spec.heads = config.num_attention_heads;
  spec.kv_heads = config.num_query_groups;
  spec.head_dim = config.kv_channels;
  spec.ffn = config.ffn_hidden_size;
  spec.vocab = config.vocab_size;
  if (meaning<bool>(config.position_embedding, {{"learned", true}, {"rotary", false}})) {
    spec.positions = config.max_position_embeddings;
  } else {
    spec.rotary.dimensions =
        static_cast<int>(std::lround(static_cast<double>(spec.head_dim) * config.rotary_percent)) /
        2 * 2;
    spec.rotary.base = config.rotary_base;
  }
  using kernels::NormKind;
  spec.norm = meaning<NormKind>(
      config.normalization, {{"layernorm", NormKind::kLayerNorm}, {"rmsnorm", NormKind::kRmsNorm}});
  spec.activation = meaning<Activation>(
      config.activation, {{"gelu", Activation::kGelu}, {"swiglu", Activation::kSwiglu}});
  spec.bias = config.add_bias_linear == "true";
  spec.tied = config.tie_embeddings == "true";
  spec.norm_epsilon = config.norm_epsilon;
  spec.init_std = config.init_method_std;
  return spec;
}

namespace {

// Appends rows that share a site and a checkpoint file.
class Rows {
 public:
  Rows(Table& table, const ModelSpec& spec, Use use, std::string file, std::string prefix)
      : table_(table), spec_(spec), use_(use), file_(std::move(file)), prefix_(std::move(prefix)) {}

  // Weight [out, in] of a linear layer.
  void weight(const std::string& name, std::int64_t out, std::int64_t in, double deviation,
              bool fused = false) {
    ParameterInfo row = base(name);
    row.shape = {out, in};
    row.standard_deviation = deviation;
    row.fused_with_previous = fused;
    table_.push_back(std::move(row));
  }
  void bias(const std::string& name, std::int64_t out, bool fused = false) {
    if (!spec_.bias) return;
    vector(name, out, Initializer::kZeros);
    table_.back().fused_with_previous = fused;
  }
  void norm(const std::string& name) {
    vector(name + ".weight", spec_.hidden, Initializer::kOnes);
    if (spec_.norm_bias()) vector(name + ".bias", spec_.hidden, Initializer::kZeros);
  }

 private:
  ParameterInfo base(const std::string& name) const {
    ParameterInfo row;
    row.name = prefix_ + name;
    row.uses = {use_};
    row.file = file_;
    return row;
  }
  void vector(const std::string& name, std::int64_t size, Initializer initializer) {
    ParameterInfo row = base(name);
    row.shape = {size};
    row.initializer = initializer;
    row.decay = false;
    table_.push_back(std::move(row));
  }

  Table& table_;
  const ModelSpec& spec_;
  Use use_;
  std::string file_, prefix_;
};

void block_rows(Table& table, const ModelSpec& spec, int block) {
  char file[32];
  std::snprintf(file, sizeof file, "layers.%04d", block);
  Rows rows(table, spec, Use{Site::kBlock, block}, file, "layers." + std::to_string(block) + ".");
  const double std = spec.init_std;
  const double residual_std = std / std::sqrt(2.0 * spec.layers);  // GPT-2's scaling
  const std::int64_t kv_width = spec.kv_heads * spec.head_dim;

  rows.norm("norm1");
  rows.weight("attention.query.weight", spec.query_width(), spec.hidden, std);
  rows.weight("attention.key.weight", kv_width, spec.hidden, std, true);
  rows.weight("attention.value.weight", kv_width, spec.hidden, std, true);
  rows.bias("attention.query.bias", spec.query_width());
  rows.bias("attention.key.bias", kv_width, true);
  rows.bias("attention.value.bias", kv_width, true);
  rows.weight("attention.output.weight", spec.hidden, spec.query_width(), residual_std);
  rows.bias("attention.output.bias", spec.hidden);

  rows.norm("norm2");
  const bool gated = spec.activation == Activation::kSwiglu;
  if (gated) rows.weight("ffn.gate.weight", spec.ffn, spec.hidden, std);
  rows.weight("ffn.up.weight", spec.ffn, spec.hidden, std, gated);
  if (gated) rows.bias("ffn.gate.bias", spec.ffn);
  rows.bias("ffn.up.bias", spec.ffn, gated);
  rows.weight("ffn.down.weight", spec.hidden, spec.ffn, residual_std);
  rows.bias("ffn.down.bias", spec.hidden);
}

}  // namespace

std::int64_t logit_rows(const ModelSpec& spec, std::int64_t rows) {
  const std::int64_t limit = std::max<std::int64_t>(16, spec.logit_elements / spec.vocab / 16 * 16);
  return std::min(rows, limit);
}

Table parameter_table(const ModelSpec& spec) {
  Table table;
  Rows embedding(table, spec, Use{Site::kEmbedding, 0}, "embedding", "embedding.");
  embedding.weight("token.weight", spec.vocab, spec.hidden, spec.init_std);
  if (spec.tied) table.back().uses.push_back(Use{Site::kHead, 0});
  if (spec.positions > 0)
    embedding.weight("position.weight", spec.positions, spec.hidden, spec.init_std);
  for (int block = 0; block < spec.layers; ++block) block_rows(table, spec, block);
  Rows head(table, spec, Use{Site::kHead, 0}, "head", "");
  head.norm("final_norm");
  if (!spec.tied) head.weight("head.weight", spec.vocab, spec.hidden, spec.init_std);
  return table;
}

StageLayers stage_layers(int layers, int stages, int stage) {
  const int share = layers / stages, rest = layers % stages;
  StageLayers result;
  result.embedding = stage == 0;
  result.head = stage == stages - 1;
  result.blocks = share + (stage < rest ? 1 : 0);
  result.first_block = stage * share + (stage < rest ? stage : rest);
  return result;
}

bool uses_on_stage(const StageLayers& stage, const Use& use) {
  switch (use.site) {
    case Site::kEmbedding:
      return stage.embedding;
    case Site::kHead:
      return stage.head;
    case Site::kBlock:
      return use.block >= stage.first_block && use.block < stage.first_block + stage.blocks;
  }
  return false;
}

}  // namespace seq1f1b::model
