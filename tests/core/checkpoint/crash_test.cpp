// A save is stopped by _exit at each of its steps on the disk, one after the other. Whatever is
// left, there must be one whole checkpoint, the old or the new one, and the next save must succeed.
#include <sys/wait.h>
#include <unistd.h>

#include <vector>

#include "core/checkpoint/directory.h"
#include "kernels/common/errors.h"
#include "tests/catch.h"
#include "tests/core/checkpoint/example.h"
#include "tests/support/temporary_folder.h"

using namespace seq1f1b;
using namespace seq1f1b::checkpoint;
using namespace seq1f1b::testing;

namespace fs = std::filesystem;

namespace {

constexpr int kCrashed = 9;

// True when the save in a child process came to its end before its step number `stop`.
bool save_until(const std::string& run, std::int64_t step, int content, int stop) {
  const pid_t child = ::fork();
  if (child < 0) throw std::runtime_error("fork failed");
  if (child == 0) {
    int steps = 0;
    try {
      save_example(run, step, content,
                   {.keep_last = 1, .observer = [&](std::string_view, const std::string&) {
                      if (++steps == stop) ::_exit(kCrashed);
                    }});
    } catch (...) {
      ::_exit(1);
    }
    ::_exit(0);
  }
  int status = 0;
  if (::waitpid(child, &status, 0) != child || !WIFEXITED(status)) throw std::runtime_error("wait");
  const int code = WEXITSTATUS(status);
  if (code != 0 && code != kCrashed) throw std::runtime_error("the save failed by itself");
  return code == 0;
}

int hidden_entries(const std::string& folder) {
  int count = 0;
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.path().filename().string().front() == '.') ++count;
  return count;
}

// Crashes a save of `step` at every step after `before` has prepared the run, and returns which
// contents were found.
std::vector<int> contents_after_crashes(std::int64_t step,
                                        const std::function<void(const std::string&)>& before) {
  std::vector<int> found;
  for (int stop = 1;; ++stop) {
    INFO("crash at step " << stop);
    const TemporaryFolder run(memory_parent());
    before(run.path());
    const bool finished = save_until(run.path(), step, 2, stop);
    std::string notice;
    const auto latest = find_latest(run.path(), &notice);
    REQUIRE(latest);
    found.push_back(read_example(*latest));

    // The next save, interrupted once more at the same place, then not.
    save_until(run.path(), step, 3, stop);
    REQUIRE(find_latest(run.path(), &notice));
    const std::string saved = save_example(run.path(), step, 4, {.keep_last = 1});
    CHECK(read_example(saved) == 4);
    notice.clear();
    CHECK(find_latest(run.path(), &notice) == saved);
    CHECK(notice.empty());
    CHECK(hidden_entries(run.file("checkpoints")) == 0);
    if (finished) return found;
  }
}

// What a run of `action` tells the observer it is given: each step and the last name in its path.
std::vector<std::string> named_steps(
    const std::function<void(const base::DiskObserver& observer)>& action) {
  std::vector<std::string> steps;
  action([&](std::string_view step, const std::string& path) {
    const std::string name = fs::path(path).filename();
    // Writing a file may take any number of writes between its create and its sync.
    if (step != "write") steps.push_back(concat(step, " ", name));
  });
  return steps;
}

void check_old_then_new(const std::vector<int>& found) {
  REQUIRE(found.size() > 20);
  CHECK(found.front() == 1);
  CHECK(found.back() == 2);
  CHECK(std::is_sorted(found.begin(), found.end()));
}

}  // namespace

TEST_CASE("A crash at any step of a save leaves the old checkpoint or the new one") {
  check_old_then_new(
      contents_after_crashes(2, [](const std::string& run) { save_example(run, 1, 1); }));
}

TEST_CASE("A crash at any step of replacing the only checkpoint leaves the old or the new one") {
  check_old_then_new(
      contents_after_crashes(1, [](const std::string& run) { save_example(run, 1, 1); }));
}

TEST_CASE("A crash at any step of the first save leaves nothing, or says what it found") {
  int nothing = 0, unfinished = 0, complete = 0;
  for (int stop = 1;; ++stop) {
    INFO("crash at step " << stop);
    const TemporaryFolder run(memory_parent());
    const bool finished = save_until(run.path(), 1, 2, stop);
    std::string notice;
    try {
      const auto latest = find_latest(run.path(), &notice);
      if (latest) CHECK(read_example(*latest) == 2);
      ++(latest ? complete : nothing);
    } catch (const DataError& error) {
      CHECK(std::string(error.what()).find("COMPLETE") != std::string::npos);
      ++unfinished;
    }
    CHECK(read_example(save_example(run.path(), 1, 4)) == 4);
    if (finished) break;
  }
  CHECK(nothing > 10);
  CHECK(unfinished >= 1);
  CHECK(complete >= 1);
}

TEST_CASE("Nothing is published before what it stands on is on the disk") {
  const TemporaryFolder run;
  save_example(run.path(), 1, 1);
  std::vector<std::string> steps = named_steps([&](const base::DiskObserver& observer) {
    save_example(run.path(), 1, 2, {.observer = observer});
  });
  const std::vector<std::string> expected{
      "make_directory checkpoints",
      concat("sync_directory ", fs::path(run.path()).filename().string()),
      "make_directory .tmp-step_00000001",
      "create layers.0000.safetensors",
      "sync_file layers.0000.safetensors",
      "create layers.0001.safetensors",
      "sync_file layers.0001.safetensors",
      "create note.txt",
      "sync_file note.txt",
      "create index.json",
      "sync_file index.json",
      "sync_directory .tmp-step_00000001",
      "rename .old-step_00000001",
      "rename step_00000001",
      "sync_directory checkpoints",
      "create COMPLETE",
      "sync_file COMPLETE",
      "sync_directory step_00000001",
      "create latest.tmp",
      "sync_file latest.tmp",
      "rename latest",
      "sync_directory checkpoints"};
  REQUIRE(steps.size() > expected.size());
  const std::vector<std::string> rest(steps.begin() + static_cast<long>(expected.size()),
                                      steps.end());
  steps.resize(expected.size());
  CHECK(steps == expected);
  for (const std::string& step : rest) CHECK(step.find("remove ") == 0);  // the replaced one
}

TEST_CASE("A checkpoint is out of sight, on the disk, before its files go") {
  const TemporaryFolder run;
  for (const int step : {1, 2}) save_example(run.path(), step, step);
  const std::vector<std::string> steps = named_steps([&](const base::DiskObserver& observer) {
    apply_retention(run.path(), 1, 0, base::Disk(observer));
  });
  REQUIRE(steps.size() > 2);
  CHECK(steps[0] == "rename .tmp-step_00000001");
  CHECK(steps[1] == "sync_directory checkpoints");
  CHECK(steps[2].find("remove ") == 0);
}

TEST_CASE("A checkpoint whose replacement never came is back, on the disk, before the next save") {
  const TemporaryFolder run;
  save_example(run.path(), 1, 1);
  const std::string folder = run.file("checkpoints");
  fs::rename(folder + "/step_00000001", folder + "/.old-step_00000001");
  const std::vector<std::string> steps = named_steps([&](const base::DiskObserver& observer) {
    save_example(run.path(), 2, 2, {.observer = observer});
  });
  const auto begin = std::find(steps.begin(), steps.end(), "rename step_00000001");
  REQUIRE(steps.end() - begin > 2);
  CHECK(begin[1] == "sync_directory checkpoints");
  CHECK(begin[2] == "make_directory .tmp-step_00000002");
}
