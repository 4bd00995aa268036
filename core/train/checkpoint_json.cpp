#include "core/train/checkpoint_json.h"

#include <nlohmann/json.hpp>
#include <variant>

#include "core/config/schema.h"
#include "kernels/common/errors.h"

namespace seq1f1b::train {
namespace {

bool is_boolean(const config::Field& field) {
  return field.allowed == std::vector<std::string>{"true", "false"};
}

// By the schema, so that a key of the section cannot be forgotten here; but for what is of no
// account once there are weights.
nlohmann::ordered_json to_json(const config::ModelConfig& model) {
  config::Config config;
  config.model = model;
  nlohmann::ordered_json object;
  for (const config::Field& field : config::schema()) {
    if (field.section != "model" || field.key == "init_method_std") continue;
    nlohmann::ordered_json& entry = object[field.key];
    std::visit([&](const auto* value) { entry = *value; }, field.value(config));
    if (is_boolean(field)) entry = entry == "true";
  }
  return object;
}

// Version 1 of index.json has booleans as text.
bool same_value(const nlohmann::ordered_json& stored, const nlohmann::ordered_json& ours) {
  return stored == ours || (ours.is_boolean() && stored == ours.dump());
}

}  // namespace

std::string model_json(const config::ModelConfig& model) { return to_json(model).dump(); }

std::string model_differences(const std::string& stored, const config::Config& config) {
  const auto theirs = nlohmann::ordered_json::parse(stored, nullptr, false);
  if (!theirs.is_object()) throw DataError("the checkpoint does not describe its model");
  const nlohmann::ordered_json ours = to_json(config.model);
  std::string sentences;
  for (const auto& [key, value] : ours.items()) {
    const auto found = theirs.find(key);
    if (found != theirs.end() && same_value(*found, value)) continue;
    const std::string other = found == theirs.end() ? "absent" : found->dump();
    sentences += concat(sentences.empty() ? "" : "; ", "model.", key, " is ", other,
                        " in the checkpoint and ", value.dump(), " in the configuration");
    // Who has changed the one may never have written the other.
    if (key == "max_position_embeddings" && value == config.training.seq_length)
      sentences += concat(" (unless it is set, it is training.seq_length: keep that, or set it to ",
                          other, " for shorter sequences)");
  }
  return sentences;
}

namespace {

nlohmann::ordered_json to_json(const Evaluation& evaluation) {
  return {{"validation_loss", evaluation.loss},
          {"validation_bits_per_byte", evaluation.bits_per_byte},
          {"validation_tokens", evaluation.tokens}};
}

nlohmann::ordered_json to_json(const runtime::AttentionChoice& choice) {
  nlohmann::ordered_json lengths = nlohmann::ordered_json::array();
  for (const runtime::AttentionLength& length : choice.lengths) {
    const bool library = length.provider == kernels::AttentionProvider::kLibrary;
    nlohmann::ordered_json entry{
        {"tokens", length.tokens}, {"keys", length.keys}, {"kernels", library ? "cudnn" : "own"}};
    if (length.own_seconds > 0) entry["own_seconds"] = length.own_seconds;
    if (length.library_seconds > 0) entry["cudnn_seconds"] = length.library_seconds;
    if (!length.refusal.empty()) entry["cudnn_refusal"] = length.refusal;
    lengths.push_back(std::move(entry));
  }
  const auto& circumstances = choice.circumstances;
  return {{"device", circumstances.device},
          {"compute_dtype", circumstances.compute_dtype},
          {"deterministic", circumstances.deterministic},
          {"micro_batch_size", circumstances.micro_batch_size},
          {"lengths", std::move(lengths)}};
}

}  // namespace

std::string attention_json(const runtime::AttentionChoice& choice) {
  return to_json(choice).dump(2) + "\n";
}

std::string evaluation_json(const Evaluation& evaluation) { return to_json(evaluation).dump(); }

std::string extra_json(const config::Config& config, const std::optional<Evaluation>& evaluation,
                       const std::optional<runtime::AttentionChoice>& attention,
                       const std::string& data) {
  nlohmann::ordered_json extra{{"seed", config.training.seed}, {"split", config.data.split}};
  if (!data.empty()) extra["data"] = nlohmann::ordered_json::parse(data);
  if (evaluation) extra["evaluation"] = to_json(*evaluation);
  if (attention) extra["attention"] = to_json(*attention);
  return extra.dump();
}

std::optional<Evaluation> evaluation_of_extra(const std::string& extra) {
  const auto stored = nlohmann::ordered_json::parse(extra, nullptr, false);
  if (!stored.is_object() || !stored.contains("evaluation")) return std::nullopt;
  const auto& found = stored["evaluation"];
  Evaluation evaluation;
  try {
    found.at("validation_loss").get_to(evaluation.loss);
    found.at("validation_bits_per_byte").get_to(evaluation.bits_per_byte);
    found.at("validation_tokens").get_to(evaluation.tokens);
  } catch (const nlohmann::json::exception& error) {
    // Version 0.1.0 could save a loss that was not finite, as null.
    throw DataError(concat("its last evaluation is not understood (", error.what(),
                           "), as after a divergence: resume from an earlier checkpoint"));
  }
  return evaluation;
}

std::optional<runtime::AttentionChoice> attention_of_extra(const std::string& extra) {
  const auto stored = nlohmann::ordered_json::parse(extra, nullptr, false);
  if (!stored.is_object() || !stored.contains("attention")) return std::nullopt;
  try {
    const auto& found = stored["attention"];
    runtime::AttentionChoice choice;
    found.at("device").get_to(choice.circumstances.device);
    found.at("compute_dtype").get_to(choice.circumstances.compute_dtype);
    found.at("deterministic").get_to(choice.circumstances.deterministic);
    found.at("micro_batch_size").get_to(choice.circumstances.micro_batch_size);
    for (const auto& entry : found.at("lengths")) {
      runtime::AttentionLength length;
      entry.at("tokens").get_to(length.tokens);
      entry.at("keys").get_to(length.keys);
      const auto name = entry.at("kernels").get<std::string>();
      if (name != "own" && name != "cudnn") throw DataError(concat("kernels \"", name, '"'));
      if (name == "cudnn") length.provider = kernels::AttentionProvider::kLibrary;
      length.own_seconds = entry.value("own_seconds", 0.0);
      length.library_seconds = entry.value("cudnn_seconds", 0.0);
      length.refusal = entry.value("cudnn_refusal", "");
      choice.lengths.push_back(std::move(length));
    }
    return choice;
  } catch (const std::exception& error) {
    throw DataError(concat("the checkpoint's choice of attention is not understood: ", error.what(),
                           "; set runtime.attention to own or cudnn"));
  }
}

}  // namespace seq1f1b::train
