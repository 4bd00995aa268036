#include "tests/catch.h"
#include "tests/core/config/helpers.h"

using namespace seq1f1b::config;

TEST_CASE("gpt3 is the default family") {
  const Loaded loaded = resolved({});
  const ModelConfig& model = loaded.config.model;
  CHECK(model.normalization == "layernorm");
  CHECK(model.position_embedding == "learned");
  CHECK(model.activation == "gelu");
  CHECK(model.add_bias_linear == "true");
  CHECK(model.tie_embeddings == "true");
  CHECK(model.num_query_groups == 12);
  CHECK(model.kv_channels == 64);
  CHECK(model.ffn_hidden_size == 3072);
  CHECK(model.max_position_embeddings == 1024);
  CHECK(model.vocab_size == 0);
  CHECK(loaded.config.optimizer.lr_decay_iters == 100);
  CHECK(loaded.origins.at("model.activation") == "family gpt3");
  CHECK(loaded.origins.at("model.kv_channels") == "derived");
}

TEST_CASE("llama has its own choices and widths, and no learned positions") {
  const ModelConfig model = resolved({"model.family=llama", "model.hidden_size=4096",
                                      "model.num_attention_heads=32", "model.num_query_groups=8"})
                                .config.model;
  CHECK(model.normalization == "rmsnorm");
  CHECK(model.position_embedding == "rotary");
  CHECK(model.activation == "swiglu");
  CHECK(model.add_bias_linear == "false");
  CHECK(model.tie_embeddings == "false");
  CHECK(model.num_query_groups == 8);
  CHECK(model.ffn_hidden_size == 10944);  // 8/3 * 4096 = 10922.67, next multiple of 64
  CHECK(model.max_position_embeddings == 0);
  CHECK(resolved({"model.family=llama", "model.hidden_size=192"}).config.model.ffn_hidden_size ==
        512);
}

TEST_CASE("explicit keys win over the preset and over derived values") {
  const Loaded loaded =
      resolved({"model.family=llama", "model.activation=gelu", "model.add_bias_linear=true",
                "model.kv_channels=80", "optimizer.lr_decay_iters=70"});
  CHECK(loaded.config.model.activation == "gelu");
  CHECK(loaded.config.model.add_bias_linear == "true");
  CHECK(loaded.config.model.ffn_hidden_size == 3072);
  CHECK(loaded.config.model.kv_channels == 80);
  CHECK(loaded.config.optimizer.lr_decay_iters == 70);
  CHECK(loaded.origins.at("model.activation") == "command line");
  CHECK(loaded.origins.at("model.normalization") == "family llama");
}

TEST_CASE("the number of segments follows from lengths and from schedules of whole sequences") {
  CHECK(resolved({"schedule.partition=[500,524]"}).config.schedule.segments == 2);
  CHECK(resolved({"schedule.name=1f1b"}).config.schedule.segments == 1);
  CHECK(resolved({"schedule.name=gpipe"}).origins.at("schedule.segments") == "derived");
  CHECK(resolved({"schedule.name=1f1b", "schedule.segments=4"}).config.schedule.segments == 4);
  CHECK(resolved({}).origins.at("schedule.segments") == "default");
}

TEST_CASE("resolving twice changes nothing") {
  Loaded loaded = resolved({"model.family=llama", "schedule.name=1f1b"});
  const std::string once = to_yaml(loaded.config, &loaded.origins);
  resolve(loaded);
  CHECK(to_yaml(loaded.config, &loaded.origins) == once);
}
