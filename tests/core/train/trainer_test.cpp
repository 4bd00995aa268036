// Whole runs inside one process: what metrics.jsonl and the checkpoints say of every step, against
// the same steps and evaluations made one by one from their parts.
#include <atomic>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numbers>
#include <thread>

#include "core/base/cores.h"
#include "core/base/files.h"
#include "core/checkpoint/directory.h"
#include "core/comm/world.h"
#include "core/data/token_file.h"
#include "core/optimizer/lr_schedule.h"
#include "core/parameters/initialise.h"
#include "core/train/agreement.h"
#include "core/train/trainer.h"
#include "tests/catch.h"
#include "tests/support/harness.h"
#include "tests/support/temporary_folder.h"

namespace seq1f1b::testing {
namespace {

using Json = nlohmann::json;

// 29 documents of random bytes, and the tokenizer that restores them.
void write_corpus(const std::string& prefix, const data::Tokenizer& tokenizer) {
  data::TokenFileWriter writer(prefix, tokenizer.vocab_size());
  std::uint32_t state = 1;
  for (int document = 0; document < 29; ++document) {
    std::vector<std::int32_t> tokens;
    for (int i = 0; i < 40 + document % 7; ++i)
      tokens.push_back(static_cast<int>((state = state * 1664525u + 1013904223u) >> 24));
    tokens.push_back(tokenizer.end_of_document());
    writer.add_document(tokens);
  }
  writer.finish();
  base::atomic_write_file(prefix + ".tokenizer.json", tokenizer.to_json());
}

config::Config config_in(const TemporaryFolder& folder) {
  config::Config config = tiny_config("llama");
  config.model.vocab_size = 257;
  config.data.train = {folder.file("corpus")};
  config.data.split = "50,50,0";
  config.training.train_iters = 5;
  config.training.eval_interval = 2;
  config.training.eval_iters = 0;
  config.optimizer.lr_decay_style = "constant";
  config.optimizer.lr_warmup_iters = 3;
  config.optimizer.lr_decay_iters = 5;
  config.parallel.pipeline_model_parallel_size = 2;
  config.runtime.device = "cpu";
  config.runtime.threads = 1;
  config.checkpoint.directory = folder.file("run");
  config.checkpoint.save_interval = 2;
  config.checkpoint.keep_last = 0;
  return config;
}

// Whether every rank came to the end, or the first other outcome in words.
std::string train_in_process(const config::Config& config) {
  const int ranks = config.parallel.pipeline_model_parallel_size;
  auto worlds = comm::make_in_process_worlds(ranks);
  std::vector<std::string> outcomes(worlds.size());
  std::vector<std::thread> team;
  for (std::size_t rank = 0; rank < worlds.size(); ++rank)
    team.emplace_back([&, rank] {
      try {
        train::Trainer trainer({.loaded = {config, {}}, .command_line = "a test"}, *worlds[rank]);
        outcomes[rank] = trainer.run() == kExitComplete ? "complete" : "another exit code";
        trainer.end(runtime::Ending::kComplete);
      } catch (const Error& error) {
        outcomes[rank] = error.what();
      }
    });
  for (std::thread& member : team) member.join();
  for (const std::string& outcome : outcomes)
    if (outcome != "complete") return outcome;
  return "complete";
}

// The lines of metrics.jsonl: with the event of a name, or the steps.
std::vector<Json> lines(const config::Config& config, const std::string& event = "") {
  std::vector<Json> found;
  std::ifstream file(config.checkpoint.directory + "/metrics.jsonl");
  for (std::string line; std::getline(file, line);) {
    Json object = Json::parse(line);
    if (object.value("event", "") == event) found.push_back(std::move(object));
  }
  return found;
}

std::vector<std::int64_t> steps_of(const std::vector<Json>& lines) {
  std::vector<std::int64_t> steps;
  for (const Json& line : lines) steps.push_back(line.at("step"));
  return steps;
}

struct Expected {
  std::vector<double> losses, norms;
  std::vector<train::Evaluation> evaluations;  // after every step
};

// On one rank, without the trainer and the evaluator: batch n holds the samples from 4 (n - 1) on,
// and every window of the validation share is evaluated in a batch of its own.
Expected step_by_step(config::Config config, const data::Tokenizer& tokenizer, int steps) {
  config.parallel.pipeline_model_parallel_size = 1;
  Expected expected;
  run_job(plan_with(config), On::kCpu, [&](RankContext& context) {
    const train::Samples samples(config);
    config::Config one = config;
    one.training.global_batch_size = 1;
    const train::Samples by_one(one);
    parameters::initialise(context.runtime.store(), config.training.seed, *context.backend.device,
                           *context.backend.ops);
    train::Step step(context.job, context.runtime, context.fabric);
    std::vector<std::int32_t> batch(samples.batch_tokens());
    for (int number = 1; number <= steps; ++number) {
      samples.training_batch(std::int64_t{4} * (number - 1), batch);
      const train::StepResult result = step.run(batch, number, 1e-3 * std::min(number, 3) / 3.0);
      expected.losses.push_back(result.loss);
      expected.norms.push_back(result.grad_norm);

      double sum = 0, bytes = 0;
      std::int64_t tokens = 0;
      const std::int64_t windows = by_one.evaluation_batches(0);
      for (std::int64_t window = 0; window < windows; ++window) {
        std::fill(batch.begin(), batch.end(), -1);
        by_one.evaluation_batch(window, std::span(batch).first(24));
        sum += context.runtime.evaluate_pass(batch, number).loss_sum;
        tokens += 23;
        for (int i = 1; i < 24; ++i)
          bytes += tokenizer.token_bytes(batch[static_cast<std::size_t>(i)]);
      }
      expected.evaluations.push_back({.loss = sum / static_cast<double>(tokens),
                                      .bits_per_byte = sum / bytes / std::numbers::ln2,
                                      .tokens = tokens});
    }
  });
  return expected;
}

}  // namespace

TEST_CASE("a run is its steps, evaluations and checkpoints, each where it is due", "[run]") {
  const TemporaryFolder folder(memory_parent());
  const auto tokenizer = data::make_byte_tokenizer("\n\n\n");
  write_corpus(folder.file("corpus"), *tokenizer);
  config::Config config = config_in(folder);
  const Expected expected = step_by_step(config, *tokenizer, 7);
  REQUIRE(expected.evaluations.front().tokens % (4 * 23) != 0);  // the last batch is padded

  REQUIRE(train_in_process(config) == "complete");
  REQUIRE(train_in_process(config) == "complete");
  CHECK(steps_of(lines(config)) == std::vector<std::int64_t>{1, 2, 3, 4, 5});  // nothing to add
  config.training.train_iters = 7;
  REQUIRE(train_in_process(config) == "complete");

  const std::vector<Json> steps = lines(config), evaluations = lines(config, "evaluation");
  REQUIRE(steps_of(steps) == std::vector<std::int64_t>{1, 2, 3, 4, 5, 6, 7});
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const Json& step = steps[i];
    const double seconds = step.at("step_seconds");
    INFO(step.dump());
    CHECK(step.at("total_steps") == (i < 5 ? 5 : 7));
    CHECK(step.at("consumed_samples") == 4 * (i + 1));
    CHECK(step.at("loss") == expected.losses[i]);
    CHECK(step.at("grad_norm") == expected.norms[i]);
    CHECK(step.at("learning_rate").get<double>() ==
          Approx(1e-3 * std::min<double>(static_cast<double>(i) + 1, 3) / 3).epsilon(1e-12));
    CHECK(step.at("tokens_per_second").get<double>() * seconds == Approx(4 * 23));
    // docs/run_directory.md: 14 L H d pairs and 6 per token and element of the matrices.
    const double pairs = 23 * 24 / 2, matrices = 4 * 16 * (32 + 16 + 48 + 24) + 16 * 257;
    CHECK(step.at("model_tflops").get<double>() * seconds * 1e12 ==
          Approx(4 * (14 * 4 * 4 * 4 * pairs + 6 * matrices * 23)));
  }
  CHECK(steps.front().at("eta_seconds").get<double>() ==
        Approx(4 * steps.front().at("step_seconds").get<double>()));
  CHECK(steps.back().at("eta_seconds") == 0);

  REQUIRE(steps_of(evaluations) == std::vector<std::int64_t>{2, 4, 5, 6, 7});
  for (const Json& line : evaluations) {
    const Json& evaluation = line.at("evaluation");
    const auto& wanted = expected.evaluations[line.at("step").get<std::size_t>() - 1];
    CHECK(evaluation.at("validation_loss").get<double>() == Approx(wanted.loss).epsilon(1e-6));
    CHECK(evaluation.at("validation_bits_per_byte").get<double>() ==
          Approx(wanted.bits_per_byte).epsilon(1e-6));
    CHECK(evaluation.at("validation_tokens") == wanted.tokens);
  }
  CHECK(steps_of(lines(config, "resume")) == std::vector<std::int64_t>{5});
  // 28 windows in the training share: 20 samples before, 8 in this start.
  CHECK(base::read_file(folder.file("run/logs/rank_00000.log")).find("1.00 epochs by step 7") !=
        std::string::npos);

  for (const int step : {1, 2, 3, 4, 5, 6, 7}) {
    INFO("step " << step);
    const std::string path = concat(folder.file("run/checkpoints/step_0000000"), step);
    REQUIRE(std::filesystem::exists(path) == (step != 1 && step != 3));
    if (step == 1 || step == 3) continue;
    const checkpoint::Reader reader(path);
    CHECK(reader.state().step == step);
    CHECK(reader.state().consumed_samples == 4 * step);
    CHECK(reader.state().consumed_tokens == 4 * step * 23);
    CHECK(reader.attachment("tokenizer.json") == tokenizer->to_json());
    CHECK(reader.attachment("config.resolved.yaml").find("save_interval") != std::string::npos);
  }
  for (const char* file : {"run_info.json", "config.resolved.yaml", "schedule.svg", "measured.svg"})
    CHECK(std::filesystem::exists(folder.file("run/") + file));
}

TEST_CASE("checkpoints and evaluations can wait for the end, checkpoints for ever", "[run]") {
  const TemporaryFolder folder(memory_parent());
  write_corpus(folder.file("corpus"), *data::make_byte_tokenizer("\n"));
  for (const int save_interval : {0, -1, 3}) {
    INFO("save_interval " << save_interval);
    config::Config config = config_in(folder);
    config.parallel.pipeline_model_parallel_size = 1;
    config.training.train_iters = 2;
    config.training.eval_interval = 0;
    config.training.eval_iters = 1;
    config.optimizer.lr_warmup_iters = 0;
    config.runtime.threads = base::available_cores() + 1;
    config.checkpoint.save_interval = save_interval;
    config.checkpoint.directory = folder.file(concat("run", save_interval));
    REQUIRE(train_in_process(config) == "complete");
    CHECK(steps_of(lines(config, "evaluation")) == std::vector<std::int64_t>{2});
    // As simulated, where threads have no cores of their own; one rank never idles.
    for (const Json& step : lines(config)) {
      CHECK(step.at("bubble_measured") == false);
      CHECK(step.at("bubble") == 0);
    }
    CHECK(lines(config, "evaluation")[0]["evaluation"]["validation_tokens"] == 4 * 23);
    CHECK(
        checkpoint::find_latest(config.checkpoint.directory, nullptr).value_or("none") ==
        (save_interval < 0 ? "none" : config.checkpoint.directory + "/checkpoints/step_00000002"));
  }
}

TEST_CASE("data that goes away is told, and so is the save that then fails", "[run]") {
  const TemporaryFolder folder(memory_parent());
  write_corpus(folder.file("corpus"), *data::make_byte_tokenizer("\n"));
  config::Config config = config_in(folder);
  config.training.train_iters = 1'000'000;  // until the data goes
  config.training.eval_interval = 0;
  config.optimizer.lr_decay_iters = config.training.train_iters;
  config.checkpoint.save_interval = 0;
  std::atomic<bool> over{false};
  std::thread saboteur([&] {
    const std::string metrics = config.checkpoint.directory + "/metrics.jsonl";
    while (!over && read_bytes(metrics).find("\"loss\"") == std::string::npos)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    const std::string checkpoints = config.checkpoint.directory + "/checkpoints";
    std::filesystem::remove_all(checkpoints);
    write_bytes(checkpoints, "a file where a folder should be");
    std::filesystem::resize_file(folder.file("corpus.bin"), 0);
  });
  const std::string outcome = train_in_process(config);
  over = true;
  saboteur.join();
  const auto second = outcome.find("; and the steps since 0 could not be saved: ");
  CAPTURE(outcome);
  CHECK(outcome.starts_with(folder.file("corpus.bin")));
  REQUIRE(second != std::string::npos);
  CHECK(outcome.find("checkpoint of step ", second) != std::string::npos);
}

TEST_CASE("what fails on one rank fails on all, with its code and its words", "[run]") {
  auto worlds = comm::make_in_process_worlds(3);
  std::vector<std::string> outcomes(3), comparisons(3);
  std::vector<std::thread> team;
  for (std::size_t rank = 0; rank < 3; ++rank)
    team.emplace_back([&, rank] {
      const auto all = worlds[rank]->make_group(comm::everyone(*worlds[rank]));
      try {
        train::agree(*all, "trying", [&] {
          if (rank == 1) throw DataError("no file");
          if (rank == 2) throw ConfigError("no key");
        });
      } catch (const train::AgreedError& error) {
        outcomes[rank] = concat(static_cast<int>(error.code()), ":", error.what());
      }
      try {
        train::require_equal(*all, "colour",
                             concat("a: 1\n", rank == 0 ? "b: red\n" : "b: blue\n", "c: 2\n"));
      } catch (const train::AgreedError& error) {
        comparisons[rank] = concat(static_cast<int>(error.code()), ":", error.what());
      }
    });
  for (std::thread& member : team) member.join();
  for (std::size_t rank = 0; rank < 3; ++rank) {
    CHECK(outcomes[rank] == concat(static_cast<int>(kExitData), ":no file"));
    CHECK(comparisons[rank].find(
              concat(static_cast<int>(kExitMismatch),
                     ":ranks 1, 2 differ from rank 0 in their colour: rank 1 has b: "
                     "blue, rank 0 has b: red; ")) == 0);
  }
}

}  // namespace seq1f1b::testing
