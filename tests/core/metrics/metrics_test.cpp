#include "core/metrics/metrics.h"

#include <sys/resource.h>

#include <cmath>
#include <csignal>
#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>

#include "core/metrics/run_info.h"
#include "kernels/common/errors.h"
#include "tests/catch.h"
#include "tests/support/temporary_folder.h"

using namespace seq1f1b;
using namespace seq1f1b::metrics;
using seq1f1b::testing::read_bytes;
using seq1f1b::testing::TemporaryFolder;
using seq1f1b::testing::write_bytes;

namespace {

StepMetrics example(std::int64_t step) {
  StepMetrics metrics;
  metrics.step = step;
  metrics.total_steps = 1000;
  metrics.loss = 3.21;
  metrics.grad_norm = 0.84;
  metrics.learning_rate = 3e-4;
  metrics.step_seconds = 0.412;
  metrics.tokens_per_second = 19880;
  metrics.model_tflops = 0.151;
  metrics.bubble = 0.065;
  metrics.eta_seconds = 312;
  metrics.consumed_samples = 16 * step;
  return metrics;
}

std::vector<nlohmann::json> lines_of(const std::string& path) {
  std::vector<nlohmann::json> lines;
  std::istringstream text(read_bytes(path));
  for (std::string line; std::getline(text, line);) lines.push_back(nlohmann::json::parse(line));
  return lines;
}

// While it lives, files of this process end at `bytes`, as on a full disk.
class SmallDisk {
 public:
  explicit SmallDisk(rlim_t bytes) : before_(limit()), handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    rlimit small = before_;
    small.rlim_cur = bytes;
    ::setrlimit(RLIMIT_FSIZE, &small);
  }
  ~SmallDisk() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;

 private:
  static rlimit limit() {
    rlimit limit{};
    ::getrlimit(RLIMIT_FSIZE, &limit);
    return limit;
  }

  rlimit before_;
  void (*handler_)(int);
};

// What a Progress writes to a terminal of `columns`, or to a file for 0.
class Screen {
 public:
  Screen() : file_(std::tmpfile()) {}
  ~Screen() { std::fclose(file_); }
  std::FILE* file() { return file_; }
  std::string text() {
    std::string text(static_cast<std::size_t>(std::ftell(file_)), '\0');
    std::rewind(file_);
    text.resize(std::fread(text.data(), 1, text.size(), file_));
    return text;
  }

 private:
  std::FILE* file_;
};

}  // namespace

TEST_CASE("The progress line") {
  CHECK(
      progress_line(example(120)) ==
      " 120/1000 | loss 3.2100 | norm 0.84 | lr 3.00e-04 | 412 ms | 19880 tok/s | 0.151 TFLOP/s | "
      "bubble 6.5% (simulated) | eta 5m12s");
  StepMetrics large = example(1000);
  large.step_seconds = 12.34;
  large.model_tflops = 1234.5;
  large.bubble_measured = true;
  large.loss = std::numeric_limits<double>::quiet_NaN();
  large.grad_norm = -large.loss;  // a NaN has no sign for people
  CHECK(concat(large.grad_norm, ' ', -std::numeric_limits<float>::quiet_NaN()) == "nan nan");
  CHECK(progress_line(large) ==
        "1000/1000 | loss nan | norm nan | lr 3.00e-04 | 12.3 s | 19880 tok/s | 1234 TFLOP/s | "
        "bubble 6.5% (measured) | eta 5m12s");
}

TEST_CASE("Durations") {
  CHECK(duration_text(0) == "0s");
  CHECK(duration_text(-1) == "0s");
  CHECK(duration_text(41.6) == "42s");
  CHECK(duration_text(59.6) == "1m00s");
  CHECK(duration_text(312) == "5m12s");
  CHECK(duration_text(3600 * 3 + 60 * 7 + 20) == "3h07m");
  CHECK(duration_text(std::numeric_limits<double>::infinity()) == "?");
}

TEST_CASE("Metrics read back exactly, and what is not finite is null and named") {
  const TemporaryFolder folder;
  const std::string path = folder.file("metrics.jsonl");
  StepMetrics metrics = example(7);
  metrics.loss = 0.1 + 0.2;
  metrics.grad_norm = std::numeric_limits<double>::infinity();
  metrics.learning_rate = std::numeric_limits<double>::denorm_min();
  metrics.model_tflops = std::nan("");
  {
    MetricsFile file(path, false);
    file.write(metrics);
    const auto lines = lines_of(path);  // flushed while the file is open
    REQUIRE(lines.size() == 1);
    CHECK(lines[0]["step"] == 7);
    CHECK(lines[0]["total_steps"] == 1000);
    CHECK(lines[0]["consumed_samples"] == 112);
    CHECK(lines[0]["loss"].get<double>() == metrics.loss);
    CHECK(lines[0]["learning_rate"].get<double>() == metrics.learning_rate);
    CHECK(lines[0]["grad_norm"].is_null());
    CHECK(lines[0]["non_finite"] == nlohmann::json{{"grad_norm", "inf"}, {"model_tflops", "nan"}});
    file.write_event("evaluation", R"({"step": 7, "loss": 2.5})");
    CHECK_THROWS_AS(file.write_event("evaluation", "[1]"), InternalError);
  }
  const auto lines = lines_of(path);
  REQUIRE(lines.size() == 2);
  CHECK(lines[1] == nlohmann::json{{"event", "evaluation"}, {"step", 7}, {"loss", 2.5}});
}

TEST_CASE("A resumed run appends behind the last complete line") {
  const TemporaryFolder folder;
  const std::string path = folder.file("metrics.jsonl");
  const auto resumed = [&](const std::string& before, bool append) {
    write_bytes(path, before);
    LineFile(path, append).write("new");
    return read_bytes(path);
  };
  CHECK(resumed("", true) == "new\n");
  CHECK(resumed("a\nb\n", true) == "a\nb\nnew\n");
  CHECK(resumed("a\nb\nhalf a li", true) == "a\nb\nnew\n");
  CHECK(resumed("half a li", true) == "new\n");
  CHECK(resumed("a\n" + std::string(10000, 'x'), true) == "a\nnew\n");
  CHECK(resumed("a\n", false) == "new\n");
}

TEST_CASE("The last step of a file is that of its last line about one") {
  const TemporaryFolder folder;
  const std::string path = folder.file("metrics.jsonl");
  CHECK_FALSE(last_step(path));
  for (const char* none : {"", "\n", "{\"event\": \"resume\", \"step\": 9}\n", "[1]\n", "{\"st"}) {
    seq1f1b::testing::write_bytes(path, none);
    CHECK_FALSE(last_step(path));
  }
  seq1f1b::testing::write_bytes(path,
                                "{\"step\": 3}\n{\"step\": 12, \"loss\": null}\n"
                                "{\"event\": \"evaluation\", \"step\": 40}\n{\"step\": 1");
  CHECK(last_step(path) == 12);
}

TEST_CASE("A file that cannot be opened is an error, one that cannot be written is not") {
  const TemporaryFolder folder;
  CHECK_THROWS_AS(MetricsFile(folder.file("absent/metrics.jsonl"), true), DataError);
  CHECK_THROWS_AS(RankLog(folder.file("absent/rank.log"), true), DataError);
  LineFile full("/dev/full", false);
  CHECK_NOTHROW(full.write("lost"));
}

TEST_CASE("A line that the disk has room for in part only is left out as a whole") {
  const TemporaryFolder folder;
  const std::string path = folder.file("metrics.jsonl");
  LineFile file(path, false);
  file.write("first");
  {
    const SmallDisk disk(10);  // bytes a file may hold: four of the next line
    file.write("second");
    CHECK(read_bytes(path) == "first\n");
  }
  file.write("third");
  CHECK(read_bytes(path) == "first\nthird\n");
}

TEST_CASE("Every line of a log carries the time since the start") {
  const TemporaryFolder folder;
  const std::string path = folder.file("rank.log");
  RankLog(path, false).line("one\ntwo");
  std::istringstream text(read_bytes(path));
  std::vector<std::string> lines;
  for (std::string line; std::getline(text, line);) lines.push_back(line);
  REQUIRE(lines.size() == 3);
  CHECK(lines[0].back() == 'Z');  // when this start was
  CHECK(lines[1].substr(12) == " one");
  CHECK(lines[2].substr(12) == " two");
  for (const std::string& line : lines) CHECK(line.find("[     0.0") == 0);
}

TEST_CASE("Without a terminal the first, the last and every interval's step have a line") {
  Screen screen;
  Progress progress(100, screen.file(), 0);
  std::string expected;
  for (std::int64_t step = 951; step <= 1000; ++step) {
    progress.show(example(step));
    if (step == 951 || step == 1000) expected += progress_line(example(step)) + "\n";
    if (step != 960) continue;
    progress.message("saved");
    expected += "saved\n";
  }
  CHECK(screen.text() == expected);
}

TEST_CASE("On a terminal the line is rewritten in place, never wraps and gives way to messages") {
  Screen screen;
  Progress progress(100, screen.file(), 21);
  progress.show(example(998));
  progress.message("saved");
  progress.show(example(999));
  progress.show(example(1000));
  CHECK(screen.text() ==
        "\r 998/1000 | loss 3.2\x1b[K\nsaved\n"
        "\r 999/1000 | loss 3.2\x1b[K\r1000/1000 | loss 3.2\x1b[K\n");
}

TEST_CASE("run_info.json tells program, place and origins") {
  const TemporaryFolder folder;
  const std::string path = folder.file("run_info.json");
  write_run_info(path, {.command_line = "seq1f1b train \"x.yaml\"",
                        .world_size = 4,
                        .device = "cpu",
                        .origins = {{"model.family", "x.yaml:2"}},
                        .libraries = {{"oneDNN", "2.6.3"}}});
  const auto info = nlohmann::json::parse(read_bytes(path));
  CHECK(info["program"] == "seq1f1b");
  CHECK(info["command_line"] == "seq1f1b train \"x.yaml\"");
  CHECK(info["world_size"] == 4);
  CHECK(info["origins"]["model.family"] == "x.yaml:2");
  CHECK(info["libraries"]["oneDNN"] == "2.6.3");
  for (const char* key : {"version", "commit", "compiler", "host", "started"})
    CHECK_FALSE(info[key].get<std::string>().empty());
}
