#include "core/train/model_json.h"

#include <nlohmann/json.hpp>

#include "kernels/common/errors.h"

namespace seq1f1b::train {
namespace {

nlohmann::ordered_json to_json(const config::ModelConfig& model) {
  return {{"family", model.family},
          {"num_layers", model.num_layers},
          {"hidden_size", model.hidden_size},
          {"num_attention_heads", model.num_attention_heads},
          {"num_query_groups", model.num_query_groups},
          {"kv_channels", model.kv_channels},
          {"ffn_hidden_size", model.ffn_hidden_size},
          {"vocab_size", model.vocab_size},
          {"max_position_embeddings", model.max_position_embeddings},
          {"normalization", model.normalization},
          {"position_embedding", model.position_embedding},
          {"activation", model.activation},
          {"add_bias_linear", model.add_bias_linear},
          {"tie_embeddings", model.tie_embeddings},
          {"norm_epsilon", model.norm_epsilon},
          {"rotary_base", model.rotary_base},
          {"rotary_percent", model.rotary_percent}};
}

}  // namespace

std::string model_json(const config::ModelConfig& model) { return to_json(model).dump(); }

std::string model_differences(const std::string& stored, const config::ModelConfig& configured) {
  const auto theirs = nlohmann::ordered_json::parse(stored, nullptr, false);
  if (!theirs.is_object()) throw DataError("the checkpoint does not describe its model");
  const nlohmann::ordered_json ours = to_json(configured);
  std::string sentences;
  for (const auto& [key, value] : ours.items()) {
    const auto found = theirs.find(key);
    if (found != theirs.end() && *found == value) continue;
    const std::string other = found == theirs.end() ? "absent" : found->dump();
    sentences += concat(sentences.empty() ? "" : "; ", "model.", key, " is ", other,
                        " in the checkpoint and ", value.dump(), " in the configuration");
  }
  return sentences;
}

namespace {

nlohmann::ordered_json to_json(const Evaluation& evaluation) {
  return {{"validation_loss", evaluation.loss},
          {"validation_bits_per_byte", evaluation.bits_per_byte},
          {"validation_tokens", evaluation.tokens}};
}

}  // namespace

std::string evaluation_json(const Evaluation& evaluation) { return to_json(evaluation).dump(); }

std::string extra_json(const config::Config& config, const std::optional<Evaluation>& evaluation) {
  nlohmann::ordered_json extra{{"seed", config.training.seed}, {"split", config.data.split}};
  if (evaluation) extra["evaluation"] = to_json(*evaluation);
  return extra.dump();
}

std::optional<Evaluation> evaluation_of_extra(const std::string& extra) {
  const auto stored = nlohmann::ordered_json::parse(extra, nullptr, false);
  if (!stored.is_object() || !stored.contains("evaluation")) return std::nullopt;
  const auto& found = stored["evaluation"];
  return Evaluation{.loss = found.value("validation_loss", 0.0),
                    .bits_per_byte = found.value("validation_bits_per_byte", 0.0),
                    .tokens = found.value("validation_tokens", std::int64_t{0})};
}

std::string split_differences(const std::string& extra, const config::Config& configured) {
  const auto stored = nlohmann::ordered_json::parse(extra, nullptr, false);
  if (!stored.is_object()) return "";
  std::string sentences;
  const auto compare = [&](const char* key, const char* path, const nlohmann::ordered_json& ours) {
    if (!stored.contains(key) || stored[key] == ours) return;
    sentences += concat(sentences.empty() ? "" : "; ", path, " is ", stored[key].dump(),
                        " in the checkpoint and ", ours.dump(), " in the configuration");
  };
  compare("seed", "training.seed", configured.training.seed);
  compare("split", "data.split", configured.data.split);
  return sentences;
}

}  // namespace seq1f1b::train
