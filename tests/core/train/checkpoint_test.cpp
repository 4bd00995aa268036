// (d) and (e): checkpoints across layouts, and a run that goes on as if it had never stopped.
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <mutex>

#include "core/checkpoint/parameters_io.h"
#include "core/parameters/initialise.h"
#include "core/train/generate.h"
#include "core/train/model_json.h"
#include "core/train/step.h"
#include "tests/catch.h"
#include "tests/support/harness.h"

namespace seq1f1b::testing {
namespace {

namespace fs = std::filesystem;

class Folder {
 public:
  explicit Folder(const std::string& name)
      : path_(std::string(SEQ1F1B_BINARY_DIR) + "/checkpoint_test_" + name) {
    fs::remove_all(path_);
    fs::create_directories(path_);
  }
  ~Folder() { fs::remove_all(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

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
  std::mutex mutex;
  run_job(plan_with(config), on, [&](RankContext& context) {
    const auto& store = context.runtime.store();
    if (from.empty()) {
      parameters::initialise(store, 11, *context.backend.device, *context.backend.ops);
    } else {
      checkpoint::Reader reader(from);
      checkpoint::load_parameters(reader, store, *context.backend.device, *context.backend.ops);
    }
    train::Step step(context.job, context.runtime, context.all);
    for (int number = first + 1; number <= last; ++number)
      step.run(random_samples(config, 3, number), number, 1e-3);
    checkpoint::Writer writer(run, last, context.all);
    checkpoint::save_parameters(writer, store, *context.backend.device);
    checkpoint::TrainingState state;
    state.step = last;
    state.model_json = train::model_json(config.model);
    const std::string saved = writer.commit(state, {}, 0, 0);
    const std::lock_guard lock(mutex);
    path = saved;
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
    const Folder a("a"), b("b"), c("c");
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
    const Folder whole("whole"), parts("parts");
    const config::Config config = layout(family, "seq1f1b", 2, 3);
    const std::string at_once = train_and_save(config, On::kCpu, "", 0, 4, whole.path());
    const std::string half = train_and_save(config, On::kCpu, "", 0, 2, parts.path());
    CHECK(different_files(at_once, half) != "");
    const std::string resumed = train_and_save(config, On::kCpu, half, 2, 4, parts.path());
    CHECK(different_files(at_once, resumed) == "");
  }
}

TEST_CASE("sampling token by token through the carry sees what one segment sees", "[generate]") {
  for (const std::string family : {"gpt3", "llama"}) {
    const Folder run("generate");
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
  CHECK(train::choose_token(logits, {.vocabulary = 1}, 0.999) == 0);
}

TEST_CASE("a checkpoint of another model is told by its fields", "[checkpoint]") {
  const config::Config config = tiny_config("llama");
  config::ModelConfig other = config.model;
  other.hidden_size = 99;
  CHECK(train::model_differences(train::model_json(config.model), config.model) == "");
  CHECK(train::model_differences(train::model_json(other), config.model) ==
        "model.hidden_size is 99 in the checkpoint and 16 in the configuration");
  config::Config reseeded = config;
  reseeded.training.seed = 9;
  const std::string extra = train::extra_json(config, train::Evaluation{1.5, 2.25, 7});
  CHECK(train::split_differences(extra, config) == "");
  CHECK(train::split_differences(extra, reseeded) ==
        "training.seed is 1234 in the checkpoint and 9 in the configuration");
  CHECK(train::evaluation_of_extra(extra)->bits_per_byte == 2.25);
}

}  // namespace seq1f1b::testing
