#include "core/train/run_directory.h"

#include <filesystem>

#include "core/base/files.h"
#include "tests/catch.h"
#include "tests/support/temporary_folder.h"

using namespace seq1f1b;

namespace {

config::Config config_in(const std::string& folder, const char* resume) {
  config::Config config;
  config.checkpoint.directory = folder;
  config.checkpoint.resume = resume;
  return config;
}

bool holds(const std::string& path, const std::string& text) {
  return base::read_file(path).find(text) != std::string::npos;
}

}  // namespace

TEST_CASE("every rank has a log; the rest is rank 0's", "[train]") {
  const testing::TemporaryFolder folder;
  const std::string run = folder.path() + "/run";
  train::RunDirectory directory(config_in(run, "auto"), 1);
  directory.log("too early");
  CHECK_FALSE(std::filesystem::exists(run));
  directory.open();
  directory.open_metrics();
  directory.log("in time");
  directory.show("for people");
  directory.show(metrics::StepMetrics{});
  directory.event("resume", "{}");
  directory.write("plan.txt", "plan");
  CHECK(holds(run + "/logs/rank_00001.log", "in time"));
  CHECK_FALSE(holds(run + "/logs/rank_00001.log", "too early"));
  CHECK(directory.ring_path() == run + "/logs/rank_00001.ring");
  for (const char* name : {"/metrics.jsonl", "/plan.txt"})
    CHECK_FALSE(std::filesystem::exists(run + name));
}

TEST_CASE("a run that goes on keeps its log and metrics, one that begins anew does not",
          "[train]") {
  const testing::TemporaryFolder folder;
  const std::string log = folder.path() + "/logs/rank_00000.log";
  const std::string metrics = folder.path() + "/metrics.jsonl";
  const auto run = [&](const char* resume, const std::string& event) {
    train::RunDirectory directory(config_in(folder.path(), resume), 0);
    directory.open();
    directory.log(event);
    directory.open_metrics();
    directory.event(event, "{}");
    directory.write("name.txt", event);
  };
  run("auto", "first");
  run("auto", "second");
  for (const std::string& file : {log, metrics})
    for (const char* event : {"first", "second"}) CHECK(holds(file, event));
  CHECK(base::read_file(folder.path() + "/name.txt") == "second");
  run("runs/other/checkpoints/step_00000001", "resumed");
  for (const std::string& file : {log, metrics}) CHECK(holds(file, "first"));
  run("none", "third");
  for (const std::string& file : {log, metrics}) {
    CHECK(holds(file, "third"));
    CHECK_FALSE(holds(file, "first"));
  }
}
