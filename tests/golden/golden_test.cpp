// Runs of the real executable compared with what a plain program that shares no code with this one
// computed (make_golden.py): the token files, the samples of each step, losses, norms, learning
// rates, evaluations, and the parameters and moments after ten steps. README.md derives the bounds.
#include <cmath>
#include <cstring>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "core/checkpoint/directory.h"
#include "core/config/load.h"
#include "core/train/samples.h"
#include "core/train/set_up.h"
#include "tests/apps/run_program.h"
#include "tests/catch.h"
#include "tests/support/temporary_folder.h"

namespace seq1f1b::testing {
namespace {

using nlohmann::json;

const std::string kGolden = SEQ1F1B_SOURCE_DIR "/tests/golden";

// Two programs in fp64, relative.
constexpr double kTolerance = 1e-12;
// What fp32 may be off by, in units of `fp32_deviation`.
constexpr double kFp32Factor = 64;

json read_json(const std::string& path) {
  const std::string text = read_bytes(path);
  INFO(path);
  REQUIRE_FALSE(text.empty());
  return json::parse(text);
}

json values_of(const std::string& name) { return read_json(kGolden + "/values/" + name + ".json"); }
std::string case_file(const std::string& name) { return kGolden + "/cases/" + name + ".json"; }

// A folder with the token files of all cases, made by `seq1f1b prepare`.
class PreparedFolder : public TemporaryFolder {
 public:
  PreparedFolder() : TemporaryFolder(memory_parent()) {
    const json prepared = values_of("prepared");
    for (const auto& [prefix, how] : prepared["prepared"].items()) {
      const apps::Outcome outcome = apps::run_shell(
          "seq1f1b prepare '" + kGolden + "/" + how["text"].get<std::string>() + "' --output '" +
          file(prefix) + "' --document-separator '" + how["separator"].get<std::string>() + "'");
      INFO(outcome.output);
      REQUIRE(outcome.code == 0);
    }
  }
};

std::string fnv1a(const std::string& bytes) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const char byte : bytes)
    hash = (hash ^ static_cast<unsigned char>(byte)) * std::uint64_t{0x100000001b3};
  std::ostringstream text;
  text.width(16);
  text.fill('0');
  text << std::hex << hash;
  return text.str();
}

void check_near(const std::string& what, double actual, double golden, double bound) {
  INFO(what << ": " << actual << ", golden " << golden << ", off by " << std::abs(actual - golden)
            << ", allowed " << bound);
  CHECK(std::abs(actual - golden) <= bound);  // false for NaN
}

// The last line of each step, and the last evaluation of each.
struct Metrics {
  std::map<int, json> steps, evaluations;
  int resumes = 0;
};

Metrics read_metrics(const std::string& run) {
  Metrics metrics;
  std::istringstream lines(read_bytes(run + "/metrics.jsonl"));
  for (std::string line; std::getline(lines, line);) {
    const json entry = json::parse(line);
    const int step = entry["step"];
    if (!entry.contains("event")) metrics.steps[step] = entry;
    if (entry.value("event", "") == "evaluation") metrics.evaluations[step] = entry["evaluation"];
    if (entry.value("event", "") == "resume") ++metrics.resumes;
  }
  return metrics;
}

enum class Dtype { kFp64, kFp32 };

// How far a number may be off: in fp64 relative to `scale`, in fp32 by what rounding alone did.
double bound(Dtype dtype, double scale, const json& fp32_deviation) {
  return dtype == Dtype::kFp64 ? kTolerance * scale : kFp32Factor * fp32_deviation.get<double>();
}

void check_metrics(const Metrics& metrics, const json& golden, Dtype dtype) {
  const json& rough = golden["fp32_deviation"];
  REQUIRE(metrics.steps.size() == golden["steps"].size());
  for (const json& step : golden["steps"]) {
    const int number = step["step"];
    INFO("step " << number);
    REQUIRE(metrics.steps.contains(number));
    const json& line = metrics.steps.at(number);
    CHECK(line["consumed_samples"] == step["consumed_samples"]);
    for (const char* field : {"loss", "grad_norm"})
      check_near(field, line[field], step[field], bound(dtype, step[field], rough[field]));
    check_near("learning_rate", line["learning_rate"], step["learning_rate"],
               kTolerance * step["learning_rate"].get<double>());
  }
  REQUIRE(metrics.evaluations.size() == golden["evaluations"].size());
  for (const json& evaluation : golden["evaluations"]) {
    const int number = evaluation["step"];
    INFO("evaluation after step " << number);
    REQUIRE(metrics.evaluations.contains(number));
    const json& line = metrics.evaluations.at(number);
    CHECK(line["validation_tokens"] == evaluation["validation_tokens"]);
    const double loss = evaluation["validation_loss"];
    const double off = bound(dtype, loss, rough["validation_loss"]);
    check_near("loss", line["validation_loss"], loss, off);
    const double bits = evaluation["validation_bits_per_byte"];
    check_near("bits per byte", line["validation_bits_per_byte"], bits, off * bits / loss);
  }
}

std::vector<double> elements(const checkpoint::StoredTensor& tensor, Dtype dtype) {
  REQUIRE(tensor.dtype == (dtype == Dtype::kFp64 ? kernels::Dtype::kF64 : kernels::Dtype::kF32));
  const std::size_t width = dtype == Dtype::kFp64 ? sizeof(double) : sizeof(float);
  std::vector<double> result(tensor.data.size() / width);
  for (std::size_t i = 0; i < result.size(); ++i) {
    float narrow = 0;
    if (dtype == Dtype::kFp64)
      std::memcpy(&result[i], tensor.data.data() + i * width, width);
    else
      std::memcpy(&narrow, tensor.data.data() + i * width, width), result[i] = narrow;
  }
  return result;
}

// An error vector of norm E moves the sum and the sum with cosines by sqrt(n) E at most, the norm
// and one element by E.
void check_tensor(const std::vector<double>& tensor, const json& golden, double error) {
  REQUIRE(tensor.size() == golden["size"].get<std::size_t>());
  double sum = 0, squares = 0, waves = 0;
  for (std::size_t i = 0; i < tensor.size(); ++i) {
    sum += tensor[i];
    squares += tensor[i] * tensor[i];
    waves += tensor[i] * std::cos(static_cast<double>(i));
  }
  const double root = std::sqrt(static_cast<double>(tensor.size()));
  const json& summary = golden["summary"];
  check_near("sum", sum, summary[0], root * error);
  check_near("norm", std::sqrt(squares), summary[1], error);
  check_near("sum of x(i) cos(i)", waves, summary[2], root * error);
  check_near("first element", tensor.front(), summary[3], error);
}

double tensor_bound(Dtype dtype, const std::string& name, const json& golden,
                    const json& fp32_deviation) {
  const double norm = golden["summary"][1];
  if (norm > 0) return bound(dtype, norm, fp32_deviation);
  // 0 but for rounding: it has no scale of its own, and its second moment is rounding squared.
  const double square = dtype == Dtype::kFp32 && name.ends_with(".exp_avg_sq") ? kFp32Factor : 1;
  return square * bound(dtype, 1, fp32_deviation);
}

void check_checkpoint(const std::string& run, const json& golden, Dtype dtype) {
  checkpoint::Reader reader(run + "/checkpoints/step_00000010");
  CHECK(reader.state().step == 10);
  CHECK(reader.state().consumed_samples == golden["steps"].back()["consumed_samples"]);
  CHECK(reader.tensors().size() == golden["tensors"].size());
  for (const auto& [name, tensor] : golden["tensors"].items()) {
    INFO(name);
    check_tensor(elements(reader.tensor(name), dtype), tensor,
                 tensor_bound(dtype, name, tensor, golden["fp32_deviation"]["tensors"][name]));
  }
}

void train(const PreparedFolder& folder, const std::string& name, const std::string& layout,
           Dtype dtype, int ranks) {
  const std::string device = dtype == Dtype::kFp64
                                 ? "runtime.device=reference runtime.compute_dtype=fp64"
                                 : "runtime.device=cpu runtime.compute_dtype=fp32";
  const apps::Outcome outcome = apps::run_shell(
      "cd '" + folder.path() +
      "' && bash -c '. \"" SEQ1F1B_SOURCE_DIR
      "/scripts/mpi_env.sh\" && exec $SEQ1F1B_MPIRUN -np \"$@\"' mpirun " +
      std::to_string(ranks) + " '" SEQ1F1B_BINARY_DIR "/seq1f1b' train '" + case_file(name) +
      "' checkpoint.directory=run parallel.pipeline_model_parallel_size=" + std::to_string(ranks) +
      " runtime.deadline_seconds=60 " + device + " " + layout);
  INFO(outcome.output);
  REQUIRE(outcome.code == 0);
}

void check_run(const std::string& name, Dtype dtype, int ranks, const std::string& layout) {
  INFO(name << ", " << ranks << " ranks, " << layout);
  const PreparedFolder folder;
  const json golden = values_of(name);
  train(folder, name, layout, dtype, ranks);
  check_metrics(read_metrics(folder.file("run")), golden, dtype);
  check_checkpoint(folder.file("run"), golden, dtype);
}

}  // namespace

TEST_CASE("prepare writes the token files that the documents describe") {
  const PreparedFolder folder;
  const json prepared = values_of("prepared");
  for (const auto& [prefix, golden] : prepared["prepared"].items()) {
    INFO(prefix);
    CHECK(fnv1a(read_bytes(folder.file(prefix + ".bin"))) == golden["bin_fnv1a"]);
    CHECK(fnv1a(read_bytes(folder.file(prefix + ".idx"))) == golden["idx_fnv1a"]);
  }
}

TEST_CASE("steps and evaluations read the golden samples") {
  const PreparedFolder folder;
  for (const std::string name : {"gpt3", "llama", "mixed"}) {
    INFO(name);
    const json golden = values_of(name);
    config::Loaded loaded = config::load(case_file(name), {});
    for (std::string& prefix : loaded.config.data.train) prefix = folder.file(prefix);
    config::resolve(loaded);
    train::load_tokenizer(loaded);
    const train::Samples samples(loaded.config);

    std::vector<std::int32_t> batch(samples.batch_tokens());
    std::int64_t consumed = 0;
    for (const json& step : golden["steps"]) {
      std::vector<std::int32_t> expected;
      for (const json& sample : step["samples"])
        expected.insert(expected.end(), sample.begin(), sample.end());
      samples.training_batch(consumed, batch);
      CHECK(batch == expected);
      consumed = step["consumed_samples"];
    }
    std::vector<std::int32_t> expected, windows;
    for (const json& window : golden["validation_windows"])
      expected.insert(expected.end(), window.begin(), window.end());
    for (std::int64_t index = 0; index < samples.evaluation_batches(0); ++index) {
      samples.evaluation_batch(index, batch);
      windows.insert(windows.end(), batch.begin(), batch.end());
    }
    expected.resize(windows.size(), -1);  // the last batch is padded
    CHECK(windows == expected);
  }
}

TEST_CASE("ten steps in fp64 are the golden ones: gpt3") {
  check_run("gpt3", Dtype::kFp64, 1, "schedule.name=1f1b schedule.segments=1");
  check_run("gpt3", Dtype::kFp64, 2, "schedule.segments=3 schedule.partition=even");
}

TEST_CASE("ten steps in fp64 are the golden ones: llama") {
  check_run("llama", Dtype::kFp64, 1, "schedule.segments=4");
  check_run("llama", Dtype::kFp64, 2, "schedule.name=terapipe schedule.segments=2");
}

TEST_CASE("ten steps in fp64 are the golden ones: mixed") {
  check_run("mixed", Dtype::kFp64, 1, "schedule.name=gpipe schedule.segments=1");
  check_run("mixed", Dtype::kFp64, 3, "schedule.segments=4 training.micro_batch_size=1");
}

TEST_CASE("a run that goes on in another layout takes the golden steps") {
  const PreparedFolder folder;
  const json golden = values_of("gpt3");
  train(folder, "gpt3", "schedule.segments=2 checkpoint.save_interval=4", Dtype::kFp64, 1);
  // Only steps that the second part has done count.
  std::filesystem::remove_all(folder.file("run/checkpoints/step_00000010"));
  train(folder, "gpt3",
        "schedule.segments=3 training.micro_batch_size=4 "
        "checkpoint.resume=run/checkpoints/step_00000004",
        Dtype::kFp64, 2);
  const Metrics metrics = read_metrics(folder.file("run"));
  CHECK(metrics.resumes == 1);
  check_metrics(metrics, golden, Dtype::kFp64);
  check_checkpoint(folder.file("run"), golden, Dtype::kFp64);
}

TEST_CASE("ten steps in fp32 stay near the golden ones: gpt3") {
  check_run("gpt3", Dtype::kFp32, 1, "schedule.segments=2");
  check_run("gpt3", Dtype::kFp32, 2, "schedule.segments=3");
}

TEST_CASE("ten steps in fp32 stay near the golden ones: llama") {
  check_run("llama", Dtype::kFp32, 1, "schedule.name=1f1b schedule.segments=1");
  check_run("llama", Dtype::kFp32, 2, "schedule.segments=4");
}

TEST_CASE("ten steps in fp32 stay near the golden ones: mixed") {
  check_run("mixed", Dtype::kFp32, 1, "schedule.segments=4");
  check_run("mixed", Dtype::kFp32, 3, "schedule.segments=2");
}

}  // namespace seq1f1b::testing
