#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <regex>
#include <string>

#include "core/base/files.h"
#include "kernels/common/errors.h"
#include "tests/apps/run_program.h"
#include "tests/catch.h"

using seq1f1b::apps::Outcome;
using seq1f1b::apps::run_shell;

namespace {

Outcome plan(const std::string& config, const std::string& arguments) {
  return run_shell("seq1f1b plan '" SEQ1F1B_SOURCE_DIR "/configs/" + config + "' " + arguments);
}
bool contains(const Outcome& outcome, const std::string& text) {
  return outcome.output.find(text) != std::string::npos;
}

}  // namespace

TEST_CASE("plan prints what a run would do") {
  const Outcome outcome =
      plan("gpt3_2.7b_32k.yaml", "schedule.alignment=1 schedule.partition=authors");
  INFO(outcome.output);
  REQUIRE(outcome.code == 0);
  CHECK(contains(outcome, "11944 8268 6731 5825 tokens"));  // METHOD section 4
  CHECK(contains(outcome, "2.98 micro-batches"));
  CHECK(contains(outcome, "1.23 micro-batches"));
  CHECK(contains(outcome, "p7 (w=3): F1.1 F1.2 F1.3 | F1.4 B1.4 F2.1 B1.3"));
  CHECK(contains(outcome, "rank 7: 4 blocks, head"));
}

TEST_CASE("plan shows what chunks and split backwards would do") {
  const Outcome interleaved = plan("gpt3_2.7b_32k.yaml",
                                   "schedule.name=seq1f1b-i "
                                   "parallel.virtual_pipeline_model_parallel_size=2");
  INFO(interleaved.output);
  REQUIRE(interleaved.code == 0);
  CHECK(contains(interleaved, "rank 7: 2 blocks, 2 blocks, head"));
  const Outcome split = plan("gpt3_2.7b_32k.yaml", "schedule.name=seq1f1b-zb");
  INFO(split.output);
  REQUIRE(split.code == 0);
  CHECK(contains(split, "W1.4"));
}

TEST_CASE("plan writes the schedule as JSON and as a picture") {
  const std::string prefix = SEQ1F1B_BINARY_DIR "/test_plan";
  const std::string json = prefix + ".json", svg = prefix + ".svg";
  std::filesystem::remove(json);
  std::filesystem::remove(svg);
  const Outcome outcome =
      plan("quickstart.yaml", "model.vocab_size=2048 training.global_batch_size=8 --json '" + json +
                                  "' --svg '" + svg + "'");
  INFO(outcome.output);
  REQUIRE(outcome.code == 0);
  const auto object = nlohmann::json::parse(seq1f1b::base::read_file(json));
  CHECK(object["ranks"] == 4);
  CHECK(object["orders"].size() == 4);
  CHECK(object["orders"][0].size() == 2 * 8 * 4);
  CHECK(object["orders"][0][0] == nlohmann::json::parse(R"(["F", 0, 0, 0])"));
  for (const auto& bytes : object["planned_bytes"])
    CHECK(contains(outcome, seq1f1b::concat('(', bytes.get<std::size_t>(), " bytes)")));
  CHECK(seq1f1b::base::read_file(svg).starts_with("<svg "));
}

TEST_CASE("plan writes through what it is told to write to") {
  const std::string folder = SEQ1F1B_BINARY_DIR "/test_plan_outputs";
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  const std::string inside = "cd '" + folder +
                             "'; ln -s real.svg link.svg; mkfifo pipe; "
                             "ln -s /dev/null null; ln -s /proc/self/fd/1 stdout; ";
  const Outcome outcome = run_shell(
      inside + "timeout 60 cat pipe >from_pipe & seq1f1b plan '" SEQ1F1B_SOURCE_DIR
               "/configs/tiny_cpu.yaml' model.vocab_size=257 --svg link.svg --json pipe >/dev/null;"
               " wait; seq1f1b plan '" SEQ1F1B_SOURCE_DIR
               "/configs/tiny_cpu.yaml' model.vocab_size=257 --svg null --json stdout >out");
  INFO(outcome.output);
  CHECK(outcome.code == 0);
  CHECK(std::filesystem::is_symlink(folder + "/link.svg"));
  CHECK(seq1f1b::base::read_file(folder + "/real.svg").starts_with("<svg "));
  CHECK(std::filesystem::is_fifo(folder + "/pipe"));
  CHECK(nlohmann::json::parse(seq1f1b::base::read_file(folder + "/from_pipe"))["ranks"] == 4);
  CHECK(std::filesystem::is_symlink(folder + "/null"));
  const std::string out = seq1f1b::base::read_file(folder + "/out");
  CHECK(out.find("memory by pipeline rank") < out.find("\"ranks\""));
  CHECK(out.find("\"ranks\"") < out.find("wrote stdout"));
}

TEST_CASE("plan does not wait for ever for somebody to read a pipe") {
  const Outcome outcome = run_shell(
      "p=$(mktemp -u) && mkfifo $p && (seq1f1b() { timeout 60 '" SEQ1F1B_BINARY_DIR
      "/seq1f1b' \"$@\"; }; seq1f1b plan '" SEQ1F1B_SOURCE_DIR
      "/configs/tiny_cpu.yaml' model.vocab_size=257 --json $p >/dev/null); code=$?; rm $p; "
      "(exit $code)");
  INFO(outcome.output);
  CHECK(outcome.code == 3);
  CHECK(contains(outcome, ": nobody reads from the pipe; start its reader first\n"));
}

TEST_CASE("plan counts the masters of bf16 weights") {
  const Outcome half =
      plan("gpt3_2.7b_32k.yaml", "runtime.device=reference runtime.compute_dtype=bf16");
  INFO(half.output);
  REQUIRE(half.code == 0);
  // 2, 4, 4 and 8 bytes of each of a rank's 315 million and more parameters.
  CHECK(
      std::regex_search(half.output, std::regex("weights 6[0-9]{2} MiB, gradients 1[.][0-9]+ GiB, "
                                                "masters 1[.][0-9]+ GiB, moments 2[.][0-9]+ GiB")));
  CHECK(!contains(plan("gpt3_2.7b_32k.yaml", "runtime.device=cpu"), "masters"));
}

// A login node has no GPU: what a configuration says of GPUs must not keep it from being planned.
TEST_CASE("plan takes what only a GPU does for a plan for GPUs") {
  for (const char* wish : {"runtime.compute_dtype=bf16", "runtime.attention=cudnn"}) {
    const Outcome outcome = plan("gpt3_2.7b_32k.yaml", std::string("runtime.device=auto ") + wish);
    INFO(outcome.output);
    CHECK(outcome.code == 0);
    CHECK(contains(outcome, "device    cuda, computes in bf16 (auto, and runtime."));
    CHECK(contains(outcome, "known or estimated of the GPU's memory"));
  }
  const Outcome processor = plan("gpt3_2.7b_32k.yaml", "runtime.device=cpu");
  CHECK(processor.code == 0);
  CHECK_FALSE(contains(processor, "GPU"));
}

// The parts are all there is.
TEST_CASE("the parts of the planned memory add up to it") {
  const Outcome outcome = plan("gpt3_2.7b_32k.yaml", "runtime.device=cuda");
  INFO(outcome.output);
  REQUIRE(outcome.code == 0);
  const std::regex number("([0-9.]+) (B|KiB|MiB|GiB)");
  const auto bytes = [&](const std::string& row) {
    const std::size_t at = outcome.output.find(row);
    REQUIRE(at != std::string::npos);
    std::smatch match;
    const std::string rest = outcome.output.substr(at + row.size(), 40);
    REQUIRE(std::regex_search(rest, match, number));
    const std::string unit = match[2];
    const double scale = unit == "GiB"   ? 1 << 30
                         : unit == "MiB" ? 1 << 20
                         : unit == "KiB" ? 1 << 10
                                         : 1;
    return std::stod(match[1]) * scale;
  };
  double sum = 0;
  for (const char* part :
       {"  parameters ", "  activations ", "            channels ", "  operations ", "  step "})
    sum += bytes(part);
  // Every figure has three digits.
  CHECK(std::abs(sum - bytes("planned ")) < 0.01 * sum);
}

TEST_CASE("plan says what it lacks") {
  const Outcome outcome = plan("quickstart.yaml", "");
  CHECK(outcome.code == 2);
  CHECK(contains(outcome, "model.vocab_size"));
  const Outcome unwritable = plan("gpt3_2.7b_32k.yaml", "--json /no/such/folder/plan.json");
  CHECK(unwritable.code == 3);
  CHECK(contains(unwritable, "/no/such/folder/plan.json"));
}
