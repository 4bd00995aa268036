// (d) and (e): checkpoints across layouts, and a run that goes on as if it had never stopped.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <map>
#include <mutex>
#include <optional>

#include "core/checkpoint/parameters_io.h"
#include "core/checkpoint/snapshot.h"
#include "core/parameters/initialise.h"
#include "core/train/checkpoint_json.h"
#include "core/train/data_identity.h"
#include "core/train/generate.h"
#include "core/train/run_state.h"
#include "core/train/step.h"
#include "kernels/common/bf16.h"
#include "kernels/common/errors.h"
#include "kernels/common/philox.h"
#include "tests/catch.h"
#include "tests/support/harness.h"
#include "tests/support/temporary_folder.h"

namespace seq1f1b::testing {
namespace {

namespace fs = std::filesystem;

config::Config layout(const std::string& family, const std::string& schedule, int ranks,
                      int segments) {
  config::Config config = tiny_config(family);
  config.schedule = {
      .name = schedule, .segments = segments, .partition = "even", .segment_lengths = {}};
  config.parallel.pipeline_model_parallel_size = ranks;
  return config;
}

// Runs steps (first, last] of a job, from `from` (empty: fresh) and saves into `run`.
std::string train_and_save(const config::Config& config, On on, const std::string& from, int first,
                           int last, const std::string& run) {
  std::string path;
  config::Config saving = config;
  saving.checkpoint.directory = run;
  run_job(plan_with(config), on, [&](RankContext& context) {
    const auto& store = context.runtime.store();
    train::RunDirectory directory(saving, context.rank);
    train::RunState state;
    state.checkpoint = from;
    train::load_parameters(state, saving, store, context.backend, 1, context.all);
    train::Step step(context.job, context.runtime, context.fabric);
    for (int number = first + 1; number <= last; ++number)
      step.run(random_samples(config, 3, number), number, 1e-3);
    state.step = last;
    train::save(state, saving, nullptr, store, *context.backend.device, context.all, directory);
    if (context.rank == 0) path = state.checkpoint;
  });
  return path;
}

std::string contents(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

// Names of tensor files that differ between two checkpoints, or are in one only.
std::string different_files(const std::string& a, const std::string& b) {
  std::string names;
  int files = 0;
  for (const auto& entry : fs::directory_iterator(a))
    if (entry.path().extension() == ".safetensors") {
      ++files;
      const fs::path other = fs::path(b) / entry.path().filename();
      if (!fs::exists(other) || contents(entry.path()) != contents(other))
        names += entry.path().filename().string() + " ";
    }
  if (files < 3) names += "(too few files)";
  return names;
}

}  // namespace

TEST_CASE("(d) saved in one layout, loaded in another, saved again: the same bytes",
          "[checkpoint]") {
  for (const std::string family : {"gpt3", "llama"}) {
    const TemporaryFolder a, b, c;
    const std::string first =
        train_and_save(layout(family, "seq1f1b", 4, 3), On::kReferenceFloat, "", 0, 2, a.path());
    const std::string second =
        train_and_save(layout(family, "1f1b", 1, 1), On::kReferenceFloat, first, 2, 2, b.path());
    const std::string third =
        train_and_save(layout(family, "terapipe", 2, 5), On::kCpu, second, 2, 2, c.path());
    CHECK(different_files(first, second) == "");
    CHECK(different_files(first, third) == "");
  }
}

TEST_CASE("(e) a resumed run ends with the bytes of an uninterrupted one", "[checkpoint]") {
  for (const std::string family : {"gpt3", "llama"}) {
    for (On on : {On::kCpu, On::kReferenceBf16}) {
      const TemporaryFolder whole, parts;
      const config::Config config = layout(family, "seq1f1b", 2, 3);
      const std::string at_once = train_and_save(config, on, "", 0, 4, whole.path());
      const std::string half = train_and_save(config, on, "", 0, 2, parts.path());
      CHECK(different_files(at_once, half) != "");
      const std::string resumed = train_and_save(config, on, half, 2, 4, parts.path());
      CHECK(different_files(at_once, resumed) == "");
    }
  }
}

TEST_CASE("a bf16 run saves and loads its masters, as an fp32 run its weights", "[checkpoint]") {
  for (const std::string family : {"gpt3", "llama"}) {
    const TemporaryFolder a, b, c;
    const config::Config config = layout(family, "seq1f1b", 2, 3);
    const std::string half = train_and_save(config, On::kReferenceBf16, "", 0, 2, a.path());
    // Every tensor is fp32, and has digits that bf16 does not.
    checkpoint::Reader reader(half);
    for (const auto& entry : reader.tensors()) CHECK(entry.dtype == "F32");
    const auto& stored = reader.tensor("layers.0.ffn.up.weight");
    std::vector<float> values(stored.data.size() / sizeof(float));
    std::memcpy(values.data(), stored.data.data(), stored.data.size());
    CHECK(std::ranges::any_of(
        values, [](float value) { return static_cast<float>(kernels::Bf16(value)) != value; }));

    const std::string full = train_and_save(config, On::kReferenceFloat, half, 2, 2, b.path());
    CHECK(different_files(half, full) == "");
    const std::string again =
        train_and_save(layout(family, "1f1b", 4, 1), On::kReferenceBf16, full, 2, 2, c.path());
    CHECK(different_files(half, again) == "");
  }
}

TEST_CASE("shards that replicas save are together the bytes of the whole", "[checkpoint]") {
  kernels::Backend backend = make_backend(On::kReferenceBf16);
  kernels::Device& device = *backend.device;
  const parameters::Layout layout(
      model::parameter_table(model::model_spec(tiny_config("llama").model)),
      [](const parameters::Use&) { return true; }, 3);
  using Contents = std::map<std::string, std::string>;
  const auto saved = [&](const std::optional<parameters::Range>& updated,
                         const parameters::Replica& replica, Contents& contents) {
    const auto training = parameters::Purpose::kTraining;
    kernels::DeviceBuffer memory(
        device,
        parameters::store_bytes(layout, backend.compute, backend.accumulate, training, updated)
            .total());
    const parameters::Store store(layout, backend.compute, backend.accumulate, training,
                                  memory.data(), updated);
    parameters::initialise(store, 5, device, *backend.ops);
    checkpoint::Snapshot snapshot;
    for (const auto& file : checkpoint::files_to_save(store, replica)) {
      CHECK(file.file.ends_with(concat(".", replica.index + 1, "-of-3")) == updated.has_value());
      snapshot.take(file, device);
      std::size_t bytes = 0;
      for (const auto& piece : snapshot.pieces()) {
        // In order, so that pieces of one tensor follow one another.
        CHECK(contents[piece.name].size() == static_cast<std::size_t>(piece.first) * sizeof(float));
        contents[piece.name].append(reinterpret_cast<const char*>(piece.data.data()),
                                    piece.data.size());
        bytes += piece.data.size();
      }
      CHECK(file.bytes() == bytes);
    }
  };
  Contents whole, shards;
  saved(std::nullopt, {}, whole);
  for (int index = 0; index < 3; ++index) saved(layout.shard(index), {index, 3}, shards);
  CHECK(whole.size() == 3 * layout.rows().size());
  CHECK(whole == shards);
}

TEST_CASE("a checkpoint that holds what is not finite is refused", "[checkpoint]") {
  const TemporaryFolder run;
  run_job(plan_with(layout("gpt3", "1f1b", 1, 1)), On::kCpu, [&](RankContext& context) {
    const auto& store = context.runtime.store();
    parameters::initialise(store, 11, *context.backend.device, *context.backend.ops);
    const auto& row = store.layout().find("layers.1.ffn.up.weight");
    float& moment = store.second_moment(row).as<float>()[7];
    for (const float value : {0.0f, std::numeric_limits<float>::infinity()}) {
      moment = value;
      checkpoint::Writer writer(run.path(), 1, context.all);
      checkpoint::save_parameters(writer, store, *context.backend.device);
      checkpoint::Reader reader(writer.commit({.step = 1}, {}, 0, 0));
      const std::string refusal = message_of<DataError>([&] {
        checkpoint::load_parameters(reader, store, *context.backend.device, *context.backend.ops);
      });
      if (value == 0)
        CHECK(refusal == "(nothing was thrown)");
      else
        CHECK(refusal.find("element 7 of layers.1.ffn.up.weight.exp_avg_sq is not finite") !=
              std::string::npos);
    }
  });
}

TEST_CASE("weights are their masters rounded, at first, updated and loaded", "[checkpoint]") {
  const TemporaryFolder run;
  const config::Config config = layout("gpt3", "seq1f1b", 2, 3);
  std::mutex mutex;
  int looked = 0, wrong = 0, moved = 0;
  // The number of weights that are no rounded master.
  const auto count = [&](const parameters::Store& store) {
    const std::lock_guard lock(mutex);
    for (const auto& row : store.layout().rows()) {
      const auto* weight = store.weight(row).as<const kernels::Bf16>();
      const auto* master = store.master(row).as<const float>();
      for (std::int64_t i = 0; i < row.info.elements(); ++i) {
        ++looked;
        if (weight[i].bits != kernels::Bf16(master[i]).bits) ++wrong;
      }
    }
  };
  run_job(plan_with(config), On::kReferenceBf16, [&](RankContext& context) {
    const auto& store = context.runtime.store();
    parameters::initialise(store, 11, *context.backend.device, *context.backend.ops);
    count(store);
    const auto& row = store.layout().rows().front();
    const float first = store.master(row).as<const float>()[0];
    train::Step step(context.job, context.runtime, context.fabric);
    step.run(random_samples(config, 3, 1), 1, 1e-3);
    count(store);
    checkpoint::Writer writer(run.path(), 1, context.all);
    checkpoint::save_parameters(writer, store, *context.backend.device);
    const std::string path = writer.commit({.step = 1}, {}, 0, 0);
    step.run(random_samples(config, 3, 2), 2, 1e-3);
    const float later = store.master(row).as<const float>()[0];
    checkpoint::Reader reader(path);
    checkpoint::load_parameters(reader, store, *context.backend.device, *context.backend.ops);
    count(store);
    const float loaded = store.master(row).as<const float>()[0];
    const std::lock_guard lock(mutex);
    if (first != loaded && loaded != later) ++moved;
  });
  CHECK(wrong == 0);
  CHECK(looked > 3 * 1000);
  CHECK(moved == 2);
}

TEST_CASE("sampling token by token through the carry sees what one segment sees", "[generate]") {
  for (const std::string family : {"gpt3", "llama"}) {
    const TemporaryFolder run;
    const config::Config config = layout(family, "seq1f1b", 2, 3);
    const std::string path = train_and_save(config, On::kReference, "", 0, 2, run.path());
    checkpoint::Reader reader(path);
    kernels::Backend backend = make_backend(On::kReference);
    train::Generator generator(config.model, reader, backend, 16);
    const std::vector<std::int32_t> tokens{5, 1, 30, 7, 7, 2, 19, 0, 3};
    const std::vector<double> whole = generator.next_logits(tokens, 0);
    std::vector<double> stepwise;
    for (std::size_t i = 0; i < tokens.size(); ++i)
      stepwise =
          generator.next_logits(std::span(tokens).subspan(i, 1), static_cast<std::int64_t>(i));
    REQUIRE(whole.size() == static_cast<std::size_t>(config.model.vocab_size));
    for (std::size_t i = 0; i < whole.size(); ++i)
      CHECK(stepwise[i] == Approx(whole[i]).epsilon(1e-11).margin(1e-13));

    // Through the draw as well: greedy text is the same in fp64 and fp32, and stops at the
    // capacity.
    std::vector<std::int32_t> drawn;
    const int count = generator.generate(tokens, {.tokens = 100, .temperature = 0},
                                         [&](std::int32_t token) { drawn.push_back(token); });
    CHECK(count == static_cast<int>(16 - tokens.size()) + 1);
    checkpoint::Reader again(path);
    kernels::Backend narrow = make_backend(On::kCpu);
    train::Generator other(config.model, again, narrow, 16);
    std::vector<std::int32_t> others;
    other.generate(tokens, {.tokens = 100, .temperature = 0},
                   [&](std::int32_t token) { others.push_back(token); });
    CHECK(drawn == others);

    // Every draw has a number of its own, from the seed.
    for (const std::uint64_t seed : {1u, 2u}) {
      const train::Sampling sampling{.tokens = 5, .temperature = 30, .seed = seed};
      std::vector<std::int32_t> text(tokens), expected(tokens);
      CHECK(generator.generate(tokens, sampling,
                               [&](std::int32_t token) { text.push_back(token); }) == 5);
      for (std::uint64_t draw = 0; draw < 5; ++draw)
        expected.push_back(
            train::choose_token(generator.next_logits(expected, 0), sampling,
                                kernels::philox_uniform(kernels::philox(seed, draw)[0])));
      CHECK(text == expected);
    }
    // No more than there are positions.
    train::Generator roomy(config.model, reader, backend, 40);
    CHECK(roomy.generate(tokens, {.tokens = 100, .temperature = 0}, [](std::int32_t) {}) ==
          (family == "gpt3" ? 23 : 40) - static_cast<int>(tokens.size()) + 1);

    // bf16 without masters: weights are rounded as they are loaded.
    for (On on : {On::kReferenceFloat, On::kReferenceBf16}) {
      checkpoint::Reader reread(path);
      kernels::Backend rough = make_backend(on);
      train::Generator rounded(config.model, reread, rough, 16);
      const std::vector<double> near = rounded.next_logits(tokens, 0);
      const double bound = on == On::kReferenceFloat ? 1e-6 : 2e-2;
      double largest = 0, worst = 0;
      for (std::size_t i = 0; i < whole.size(); ++i) {
        largest = std::max(largest, std::abs(whole[i]));
        worst = std::max(worst, std::abs(near[i] - whole[i]));
      }
      CHECK(worst > 0);
      CHECK(worst <= bound * largest);
    }
  }
}

TEST_CASE("tokens are drawn from the kept ones by their probabilities", "[generate]") {
  const std::vector<double> logits{0.0, std::log(3.0), std::log(2.0), -1e9};
  CHECK(train::choose_token(logits, {.temperature = 0}, 0.9) == 1);
  CHECK(train::choose_token(logits, {.top_k = 1}, 0.9) == 1);
  // Order by probability: 1 (3/6), 2 (2/6), 0 (1/6).
  CHECK(train::choose_token(logits, {}, 0.49) == 1);
  CHECK(train::choose_token(logits, {}, 0.51) == 2);
  CHECK(train::choose_token(logits, {}, 0.84) == 0);
  CHECK(train::choose_token(logits, {.top_k = 2}, 0.59) == 1);
  CHECK(train::choose_token(logits, {.top_k = 2}, 0.99) == 2);
  CHECK(train::choose_token(logits, {.temperature = 0.01}, 0.999) == 1);
  CHECK(train::choose_token(logits, {.vocabulary = 1}, 0.001) == 0);
  // The cumulative sums are of the probabilities, however large the logits.
  CHECK(train::choose_token(std::vector{7.0, 7.0}, {}, 0.51) == 1);
  // Of equals the first.
  CHECK(train::choose_token(std::vector{1.0, 2.0, 2.0}, {.temperature = 0}, 0.9) == 1);
}

TEST_CASE("a checkpoint holds every key of the model but one, in their order", "[checkpoint]") {
  CHECK(train::model_json(tiny_config("llama").model) ==
        R"({"family":"llama","num_layers":4,"hidden_size":16,"num_attention_heads":4,)"
        R"("num_query_groups":2,"kv_channels":4,"ffn_hidden_size":24,"vocab_size":37,)"
        R"("max_position_embeddings":0,"normalization":"rmsnorm","position_embedding":"rotary",)"
        R"("activation":"swiglu","add_bias_linear":false,"tie_embeddings":false,)"
        R"("norm_epsilon":1e-05,"rotary_base":10000.0,"rotary_percent":1.0})");
}

TEST_CASE("a checkpoint of another model is told by its fields", "[checkpoint]") {
  const config::Config config = tiny_config("llama");
  config::ModelConfig other = config.model;
  other.hidden_size = 99;
  CHECK(train::model_differences(train::model_json(config.model), config) == "");
  CHECK(train::model_differences(train::model_json(other), config) ==
        "model.hidden_size is 99 in the checkpoint and 16 in the configuration");
  CHECK(train::model_differences("{}", config)
            .find("model.family is absent in the checkpoint and \"llama\"") == 0);
  CHECK_THROWS_AS(train::model_differences("[]", config), DataError);
  // Of a key that follows another one, the one that was changed.
  config::Config longer = tiny_config("gpt3");
  const std::string before = train::model_json(longer.model);
  longer.model.max_position_embeddings = 48;
  longer.training.seq_length = 48;
  CHECK(train::model_differences(before, longer)
            .find("and 48 in the configuration (unless it is set, it is training.seq_length: ") !=
        std::string::npos);
  config::Config reseeded = config;
  reseeded.training.seed = 9;
  const std::string extra = train::extra_json(config, train::Evaluation{1.5, 2.25, 7});
  CHECK(train::order_differences(extra, 0, config) == "");
  CHECK(train::order_differences(extra, 0, reseeded) ==
        "training.seed is 1234 in the checkpoint and 9 in the configuration");
  CHECK(train::evaluation_of_extra(extra)->bits_per_byte == 2.25);
}

}  // namespace seq1f1b::testing
