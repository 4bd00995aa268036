// Family presets and everything that "0 means derived" stands for.
#include <string>

#include "core/config/families.h"
#include "core/config/load.h"
#include "core/config/schema.h"
#include "core/schedule/catalogue.h"

namespace seq1f1b::config {
namespace {

// Sets values that the user left open, and notes where they come from.
class Resolver {
 public:
  explicit Resolver(Loaded& loaded) : loaded_(loaded), model_(loaded.config.model) {}

  void apply_family() {
    const Family* family = find_family(model_.family);
    if (family == nullptr) return;  // which validate() refuses
    fill("normalization", model_.normalization, family->normalization);
    fill("position_embedding", model_.position_embedding, family->position_embedding);
    fill("activation", model_.activation, family->activation);
    fill("add_bias_linear", model_.add_bias_linear, family->add_bias_linear);
    fill("tie_embeddings", model_.tie_embeddings, family->tie_embeddings);
  }

  void derive_sizes() {
    derive("model.num_query_groups", model_.num_query_groups, model_.num_attention_heads);
    // Left at 0 when the division is not exact: validate() says so.
    if (model_.num_attention_heads > 0 && model_.hidden_size % model_.num_attention_heads == 0)
      derive("model.kv_channels", model_.kv_channels,
             model_.hidden_size / model_.num_attention_heads);
    const std::int64_t hidden = model_.hidden_size;
    const std::int64_t ffn =
        model_.activation == "swiglu" ? (8 * hidden + 3 * 64 - 1) / (3 * 64) * 64 : 4 * hidden;
    derive("model.ffn_hidden_size", model_.ffn_hidden_size, static_cast<int>(ffn));
    const auto& training = loaded_.config.training;
    if (model_.position_embedding == "learned")
      derive("model.max_position_embeddings", model_.max_position_embeddings,
             static_cast<int>(training.seq_length));
    derive("optimizer.lr_decay_iters", loaded_.config.optimizer.lr_decay_iters,
           training.train_iters);
  }

  // Only one count goes with explicit lengths and with schedules of whole sequences: it is taken
  // unless the user asked for another, which validate() refuses.
  void derive_segments() {
    ScheduleConfig& wanted = loaded_.config.schedule;
    std::string& origin = loaded_.origins["schedule.segments"];
    if (origin != "default" && !origin.empty()) return;
    int segments = wanted.segments;
    if (!wanted.segment_lengths.empty())
      segments = static_cast<int>(wanted.segment_lengths.size());
    else if (const auto* entry = schedule::find_schedule(wanted.name);
             entry && !entry->splits_sequences())
      segments = 1;
    if (segments == wanted.segments) return;
    wanted.segments = segments;
    origin = "derived";
  }

 private:
  void fill(const std::string& key, std::string& value, const char* choice) {
    if (!value.empty()) return;
    value = choice;
    loaded_.origins["model." + key] = "family " + model_.family;
  }
  template <class Value>
  void derive(const std::string& name, Value& value, Value derived) {
    if (value != 0) return;
    value = derived;
    loaded_.origins[name] = "derived";
  }

  Loaded& loaded_;
  ModelConfig& model_;
};

}  // namespace

void resolve(Loaded& loaded) {
  Resolver resolver(loaded);
  resolver.apply_family();
  resolver.derive_sizes();
  resolver.derive_segments();
}

}  // namespace seq1f1b::config
