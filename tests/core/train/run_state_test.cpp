#include "core/train/run_state.h"

#include "core/base/files.h"
#include "core/train/agreement.h"
#include "tests/catch.h"
#include "tests/core/checkpoint/solo_group.h"
#include "tests/support/harness.h"
#include "tests/support/temporary_folder.h"

namespace seq1f1b::testing {
namespace {

using train::RunState;

config::Config config_in(const std::string& folder) {
  config::Config config = tiny_config("llama");
  config.parallel.pipeline_model_parallel_size = 1;
  config.checkpoint.directory = folder;
  return config;
}

// Saves the state of a job of one rank with initial parameters.
RunState saved(const config::Config& config, RunState state, const data::Tokenizer* tokenizer) {
  run_job(plan_with(config), On::kCpu, [&](RankContext& context) {
    train::RunDirectory directory(config, 0);
    train::load_parameters(state, config, context.runtime.store(), context.backend, 1, context.all);
    train::save(state, config, tokenizer, context.runtime.store(), *context.backend.device,
                context.all, directory);
  });
  return state;
}

RunState found(const config::Config& config, const data::Tokenizer* tokenizer = nullptr) {
  SoloGroup alone;
  train::RunDirectory directory(config, 0);
  return train::find_state(config, tokenizer, alone, directory);
}

// The exit code and the message of what find_state throws.
std::pair<int, std::string> refusal(const config::Config& config,
                                    const data::Tokenizer* tokenizer = nullptr) {
  try {
    found(config, tokenizer);
  } catch (const train::AgreedError& error) {
    return {error.code(), error.what()};
  }
  return {kExitComplete, ""};
}

}  // namespace

TEST_CASE("a run that begins stands at step 0", "[train]") {
  const TemporaryFolder folder;
  const RunState state = found(config_in(folder.path()));
  CHECK(state.step == 0);
  CHECK(state.consumed_samples == 0);
  CHECK(!state.evaluation);
  CHECK(state.checkpoint.empty());
}

TEST_CASE("what is saved is found again, unless the run is to begin anew", "[train]") {
  const TemporaryFolder folder;
  config::Config config = config_in(folder.path());
  const auto tokenizer = data::make_byte_tokenizer("\n");
  RunState state{
      .step = 3, .consumed_samples = 12, .evaluation = {}, .attention = {}, .checkpoint = ""};
  state.evaluation = {.loss = 2.5, .bits_per_byte = 1.25, .tokens = 77};
  const std::string path = saved(config, state, tokenizer.get()).checkpoint;
  CHECK(path == folder.path() + "/checkpoints/step_00000003");

  const RunState again = found(config, tokenizer.get());
  CHECK(again.checkpoint == path);
  CHECK(again.step == 3);
  CHECK(again.consumed_samples == 12);
  REQUIRE(again.evaluation);
  CHECK(again.evaluation->loss == 2.5);
  CHECK(again.evaluation->bits_per_byte == 1.25);
  CHECK(again.evaluation->tokens == 77);

  config.checkpoint.resume = "none";
  CHECK(found(config, tokenizer.get()).checkpoint.empty());
  config.checkpoint.resume = path;
  config.checkpoint.directory = folder.path() + "/another";
  CHECK(found(config, tokenizer.get()).step == 3);
}

TEST_CASE("a checkpoint of another run is refused, with the exit code of its kind", "[train]") {
  const TemporaryFolder folder;
  const config::Config config = config_in(folder.path());
  const auto tokenizer = data::make_byte_tokenizer("\n");
  saved(config, {}, tokenizer.get());
  CHECK(refusal(config, tokenizer.get()).first == kExitComplete);

  config::Config wider = config;
  wider.model.ffn_hidden_size += 8;
  CHECK(refusal(wider).first == kExitConfiguration);
  CHECK(refusal(wider).second.find("model.ffn_hidden_size is") != std::string::npos);

  config::Config split = config;
  split.data.split = "1,1,1";
  CHECK(refusal(split).first == kExitConfiguration);
  CHECK(refusal(split).second.find("Documents would move between training and validation") !=
        std::string::npos);

  const auto other = data::make_byte_tokenizer("\n\n");
  CHECK(refusal(config, other.get()).first == kExitConfiguration);
  CHECK(refusal(config, other.get()).second.find("was trained with another tokenizer") !=
        std::string::npos);

  config::Config lost = config;
  lost.checkpoint.resume = folder.path() + "/checkpoints/step_00000099";
  CHECK(refusal(lost).first == kExitData);
}

}  // namespace seq1f1b::testing
