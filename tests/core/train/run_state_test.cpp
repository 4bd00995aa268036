#include "core/train/run_state.h"

#include <array>

#include "core/base/files.h"
#include "core/checkpoint/index.h"
#include "core/checkpoint/parameters_io.h"
#include "core/config/load.h"
#include "core/parameters/initialise.h"
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
  RunState state;
  state.step = 3;
  state.consumed_samples = 12;
  state.consumed_tokens = 281;
  state.evaluation = {.loss = 2.5, .bits_per_byte = 1.25, .tokens = 77};
  const std::string path = saved(config, state, tokenizer.get()).checkpoint;
  CHECK(path == folder.path() + "/checkpoints/step_00000003");

  const RunState again = found(config, tokenizer.get());
  CHECK(again.checkpoint == path);
  CHECK(again.step == 3);
  CHECK(again.consumed_samples == 12);
  CHECK(again.consumed_tokens == 281);
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

TEST_CASE("a choice of attention is taken over where attention is chosen, and nowhere else",
          "[train]") {
  const TemporaryFolder folder;
  config::Config config = config_in(folder.path());
  config.runtime.attention = "auto";
  RunState state;
  state.attention = runtime::AttentionChoice{};
  saved(config, state, nullptr);
  CHECK(found(config).attention.has_value());
  config.runtime.attention = "own";
  CHECK_FALSE(found(config).attention.has_value());
}

TEST_CASE("a save that fails is told with the exit code of the disk", "[train]") {
  const TemporaryFolder folder;
  write_bytes(folder.file("checkpoints"), "a file where a folder should be");
  std::string outcome = "saved";
  try {
    saved(config_in(folder.path()), {}, nullptr);
  } catch (const train::AgreedError& error) {
    outcome = concat(static_cast<int>(error.code()), ": ", error.what());
  }
  CHECK(outcome.find(concat(static_cast<int>(kExitData), ": checkpoint of step 0 not saved")) == 0);
}

TEST_CASE("a checkpoint whose state is not understood is refused by name", "[train]") {
  const TemporaryFolder folder;
  const config::Config config = config_in(folder.path());
  RunState state;
  state.step = 3;
  state.evaluation = {.loss = 2.5, .bits_per_byte = 1.25, .tokens = 77};
  state.data = R"({"seq_length":23,"files":[{"prefix":"a","documents":2,"tokens":9,)"
               R"("idx_xxh3_64":"ab","bin_xxh3_64":"cd"}]})";
  const std::string path = saved(config, state, nullptr).checkpoint;
  CHECK(refusal(config).first == kExitComplete);
  const std::string index = read_bytes(path + "/index.json");
  const auto [from, to, why] = GENERATE(values<std::array<std::string, 3>>({
      {R"("validation_loss":2.5)", R"("validation_loss":null)", "last evaluation"},
      {R"("validation_tokens":77)", R"("validation_tokens":"many")", "last evaluation"},
      {R"("validation_loss":2.5)", R"("loss":2.5)", "last evaluation"},
      {R"("seq_length":23)", R"("seq_length":"long")", "trained on"},
      {R"("files":[)", R"("others":[)", "trained on"},
      {R"("files":[{)", R"("files":[7,{)", "trained on"},
      {R"("prefix":"a")", R"("prefix":{})", "trained on"},
      {R"("documents":2)", R"("documents":null)", "trained on"},
      {R"("data":{)", R"("data":7,"other":{)", "trained on"},
      {R"("step": 3)", R"("step": -3)", "\"step\" is negative: -3"},
      {R"("consumed_samples": 0)", R"("consumed_samples": -1)", "is negative: -1"},
      {R"("consumed_tokens": 0)", R"("consumed_tokens": -1)", "is negative: -1"},
  }));
  CAPTURE(from, to);
  std::string altered = index;
  REQUIRE(index.find(from) != std::string::npos);
  altered.replace(index.find(from), from.size(), to);
  write_bytes(path + "/index.json", altered);
  write_bytes(path + "/COMPLETE", checkpoint::completion_text(altered));
  const auto [code, message] = refusal(config);
  CHECK(code == kExitData);
  CHECK(message.find(path) != std::string::npos);
  CHECK(message.find(why) != std::string::npos);
}

TEST_CASE("tensors of another shape are not loaded", "[train]") {
  const TemporaryFolder folder;
  config::Config config = config_in(folder.path());
  const RunState state = saved(config, {}, nullptr);
  config.model.ffn_hidden_size += 8;
  std::string outcome = "loaded";
  try {
    saved(config, state, nullptr);  // loads first
  } catch (const train::AgreedError& error) {
    outcome = error.what();
  }
  CHECK(outcome.find("has the shape [") != std::string::npos);
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
  CHECK(refusal(split, tokenizer.get()).first == kExitConfiguration);
  CHECK(refusal(split, tokenizer.get())
            .second.find("Documents would move between training and validation") !=
        std::string::npos);

  CHECK(refusal(config).first == kExitConfiguration);
  CHECK(refusal(config).second.find("was trained with a tokenizer, and this run has none: set "
                                    "data.tokenizer: ") != std::string::npos);
  const auto other = data::make_byte_tokenizer("\n\n");
  CHECK(refusal(config, other.get()).first == kExitConfiguration);
  CHECK(refusal(config, other.get()).second.find("was trained with another tokenizer") !=
        std::string::npos);

  config::Config lost = config;
  lost.checkpoint.resume = folder.path() + "/checkpoints/step_00000099";
  CHECK(refusal(lost, tokenizer.get()).first == kExitData);
}

TEST_CASE("a checkpoint of version 1 is gone on from, its values and all", "[train]") {
  const std::string folder = SEQ1F1B_SOURCE_DIR "/tests/core/checkpoint/version_1";
  const std::string path = folder + "/step_00000003";
  const std::string saved = path + "/config.resolved.yaml";
  config::Loaded loaded = config::load_saved(base::read_file(saved), saved);
  config::resolve(loaded);
  config::Config config = loaded.config;
  config.checkpoint.resume = path;
  const RunState state = found(config);
  CHECK(state.step == 3);
  CHECK(state.consumed_samples == 12);
  REQUIRE(state.evaluation);
  CHECK(state.evaluation->tokens == 88);

  // It does not say the length of its samples, but how many tokens so many had.
  config::Config longer = config;
  longer.training.seq_length = 16;
  CHECK(refusal(longer).second.find("training.seq_length is 8 in the checkpoint and 16") !=
        std::string::npos);

  // Booleans are text there: they are compared all the same.
  config::Config unbiased = config;
  unbiased.model.add_bias_linear = "false";
  CHECK(refusal(unbiased).second.find(
            "model.add_bias_linear is \"true\" in the checkpoint and false in the configuration") !=
        std::string::npos);

  run_job(plan_with(config), On::kCpu, [&](RankContext& context) {
    const parameters::Store& store = context.runtime.store();
    train::load_parameters(state, config, store, context.backend, 1, context.all);
    const auto& row = store.layout().find("layers.0.attention.query.weight");
    // As another program reads them from the files.
    CHECK(store.weight(row).as<const float>()[0] == 0x1.ed35fcp-6f);
    CHECK(store.weight(row).as<const float>()[15] == 0x1.03fb6ap-8f);
    CHECK(store.first_moment(row).as<const float>()[15] == 0x1.0c502ap-22f);
    CHECK(store.second_moment(row).as<const float>()[15] == 0x1.2b5dacp-43f);
    CHECK(store.weight(store.layout().find("final_norm.bias")).as<const float>()[3] ==
          0x1.ff22e6p-7f);
  });
}

TEST_CASE("weights without moments are read by sampling, and refused to a run", "[train]") {
  const TemporaryFolder folder;
  const config::Config config = config_in(folder.path());
  const plan::JobPlan job = plan_with(config);
  run_job(job, On::kCpu, [&](RankContext& context) {
    const parameters::Layout& layout = context.runtime.store().layout();
    const auto bytes = parameters::store_bytes(layout, kernels::Dtype::kF32, kernels::Dtype::kF32,
                                               parameters::Purpose::kInference);
    std::vector<float> saved(bytes.total() / sizeof(float)), loaded(saved.size());
    const auto weights = [&](std::vector<float>& memory) {
      return parameters::Store(layout, kernels::Dtype::kF32, kernels::Dtype::kF32,
                               parameters::Purpose::kInference,
                               reinterpret_cast<std::byte*>(memory.data()));
    };
    kernels::Device& device = *context.backend.device;
    kernels::Ops& ops = *context.backend.ops;
    const parameters::Store from = weights(saved), to = weights(loaded);
    parameters::initialise(from, 7, device, ops);
    checkpoint::Writer writer(folder.path(), 1, context.all);
    checkpoint::save_parameters(writer, from, device);
    const std::string path = writer.commit({.step = 1}, {}, 0, 0);

    checkpoint::Reader reader(path);
    CHECK(reader.tensors().size() == layout.rows().size());
    checkpoint::load_parameters(reader, to, device, ops);
    CHECK(loaded == saved);
    CHECK(message_of<DataError>([&] {
            checkpoint::load_parameters(reader, context.runtime.store(), device, ops);
          }) == path +
                    " holds weights without the optimizer's moments: `sample` reads it, but no "
                    "run can go on from it");
  });
}

}  // namespace seq1f1b::testing
