#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <thread>

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

struct Run {
  TemporaryFolder folder;
  std::string checkpoints = folder.file("checkpoints");

  std::string step(int number) const {
    std::string digits = std::to_string(number);
    return checkpoints + "/step_" + std::string(8 - digits.size(), '0') + digits;
  }
  void save(std::initializer_list<int> steps) const {
    for (int number : steps) save_example(folder.path(), number, number);
  }
  // The path found, with the run directory as RUN, and the notice; or the error.
  std::string latest() const {
    std::string notice;
    std::string text;
    try {
      const auto found = find_latest(folder.path(), &notice);
      text = found ? *found : "none";
      if (!notice.empty()) text += " NOTICE " + notice;
    } catch (const DataError& error) {
      text = std::string("ERROR ") + error.what();
    }
    for (std::size_t at; (at = text.find(folder.path())) != std::string::npos;)
      text.replace(at, folder.path().size(), "RUN");
    return text;
  }
  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(checkpoints))
      names.push_back(entry.path().filename());
    std::sort(names.begin(), names.end());
    return names;
  }
};

using Names = std::vector<std::string>;

const std::string kHint =
    "; to start anew, name another checkpoint.directory or set checkpoint.resume: none";

}  // namespace

TEST_CASE("Where there never was a checkpoint none is found") {
  const Run run;
  CHECK(run.latest() == "none");
  fs::create_directories(run.checkpoints + "/.tmp-step_00000003");
  fs::create_directories(run.checkpoints + "/step_3");
  fs::create_directories(run.checkpoints + "/step_00000003.backup");
  write_bytes(run.step(4), "a file");
  CHECK(run.latest() == "none");
}

TEST_CASE("The marker decides; a newer checkpoint is mentioned") {
  const Run run;
  run.save({1, 3, 2});
  CHECK(
      run.latest() ==
      "RUN/checkpoints/step_00000002 NOTICE RUN/checkpoints/step_00000003 is complete but newer "
      "than what RUN/checkpoints/latest names: to use it, set checkpoint.resume to its path; going "
      "on from RUN/checkpoints/step_00000002");
}

TEST_CASE("Without a readable marker the newest complete checkpoint is taken, and this is said") {
  const Run run;
  run.save({1, 2, 3});
  fs::remove(run.step(3) + "/COMPLETE");
  fs::remove(run.checkpoints + "/latest");
  const std::string rest =
      "; RUN/checkpoints/step_00000003: COMPLETE is missing: the checkpoint was not finished; "
      "falling back to RUN/checkpoints/step_00000002";
  CHECK(run.latest() ==
        "RUN/checkpoints/step_00000002 NOTICE RUN/checkpoints/latest is missing" + rest);
  write_bytes(run.checkpoints + "/latest", "step_3\n");
  CHECK(run.latest() ==
        "RUN/checkpoints/step_00000002 NOTICE RUN/checkpoints/latest names no checkpoint" + rest);
}

TEST_CASE("A marker that points nowhere, or to an unfinished save, falls back to an older one") {
  const Run run;
  run.save({1, 2});
  SECTION("nowhere") {
    fs::remove_all(run.step(2));
    CHECK(
        run.latest() ==
        "RUN/checkpoints/step_00000001 NOTICE RUN/checkpoints/latest names step_00000002, which is "
        "not there; falling back to RUN/checkpoints/step_00000001");
  }
  SECTION("to an unfinished one") {
    fs::remove(run.step(2) + "/COMPLETE");
    CHECK(
        run.latest() ==
        "RUN/checkpoints/step_00000001 NOTICE RUN/checkpoints/step_00000002: COMPLETE is missing: "
        "the checkpoint was not finished; falling back to RUN/checkpoints/step_00000001");
  }
}

TEST_CASE("A checkpoint damaged after it was complete is refused, with the way to an older one") {
  const Run run;
  run.save({1, 2});
  fs::resize_file(run.step(2) + "/note.txt", 3);
  const std::string problem =
      "ERROR RUN/checkpoints/step_00000002/note.txt: has 3 bytes, index.json says 9: the file is "
      "truncated";
  CHECK(run.latest() ==
        problem +
            "; to go on from the one before, set checkpoint.resume: RUN/checkpoints/step_00000001");
  fs::remove_all(run.step(1));
  CHECK(run.latest() == problem + kHint);
}

TEST_CASE("The way past a damaged checkpoint leads to a whole one before it") {
  const Run run;
  run.save({1, 2, 4, 3});
  for (const int damaged : {2, 3}) fs::resize_file(run.step(damaged) + "/note.txt", 3);
  CHECK(
      run.latest().ends_with("to go on from the one before, set checkpoint.resume: "
                             "RUN/checkpoints/step_00000001"));
}

TEST_CASE("A checkpoint whose replacement never came is preferred to an older step") {
  const Run run;
  run.save({1, 2});
  fs::rename(run.step(2), run.checkpoints + "/.old-step_00000002");
  CHECK(run.latest() == "RUN/checkpoints/.old-step_00000002");
}

TEST_CASE("When nothing complete is left the run is not silently started anew") {
  const Run run;
  run.save({1});
  SECTION("damaged") {
    fs::remove(run.step(1) + "/COMPLETE");
    CHECK(run.latest() ==
          "ERROR no usable checkpoint in RUN/checkpoints: RUN/checkpoints/"
          "step_00000001: COMPLETE is missing: the checkpoint was not finished" +
              kHint);
  }
  SECTION("gone") {
    fs::remove_all(run.step(1));
    CHECK(run.latest() ==
          "ERROR no usable checkpoint in RUN/checkpoints: RUN/checkpoints/latest "
          "names step_00000001, which is not there" +
              kHint);
  }
  SECTION("only newer ones than the marker names") {
    write_bytes(run.checkpoints + "/latest", "step_00000000\n");
    CHECK(run.latest() ==
          "ERROR no usable checkpoint in RUN/checkpoints: RUN/checkpoints/latest names "
          "step_00000000, which is not there; RUN/checkpoints/step_00000001 is complete but newer "
          "than what RUN/checkpoints/latest names: to use it, set checkpoint.resume to its path" +
              kHint);
  }
}

TEST_CASE(
    "A checkpoint that the retention takes away while it is read makes place for the newest") {
  const Run run;
  std::vector<std::string> used, notices;
  const auto use = [&](const std::function<void(const std::string&)>& body) {
    return use_latest(
        run.folder.path(), [&](const std::string& notice) { notices.push_back(notice); },
        [&](const std::string& path) {
          used.push_back(path);
          body(path);
        });
  };
  CHECK_FALSE(use([](const std::string&) {}));
  run.save({1});
  CHECK(use([&](const std::string& path) {
    if (used.size() == 1) save_example(run.folder.path(), 2, 2, {.keep_last = 1});
    read_example(path);
  }));
  CHECK(used == Names{run.step(1), run.step(2)});
  CHECK(notices == Names{run.step(1) + " was removed meanwhile; looking for the newest again"});
  // What is there and cannot be read is damage.
  CHECK_THROWS_AS(use([](const std::string&) { throw DataError("damaged"); }), DataError);
  CHECK(used.size() == 3);
}

TEST_CASE("A save between the reading of the marker and that of the folder is noticed") {
  const Run run;
  run.save({1, 2});
  const std::string marker = run.checkpoints + "/latest";
  fs::remove(marker);
  // Whoever opens a pipe for writing waits for a reader, and the reader for the end.
  REQUIRE(::mkfifo(marker.c_str(), 0600) == 0);
  std::thread saver([&] {
    std::ofstream pipe(marker);
    write_bytes(marker + ".new", "step_00000002\n");
    fs::rename(marker + ".new", marker);
    fs::remove_all(run.step(1));
    pipe << "step_00000001\n";
  });
  std::string found;
  SECTION("find_latest") { found = run.latest(); }
  SECTION("use_latest") {
    try {
      use_latest(
          run.folder.path(), [&](const std::string& notice) { found += notice; },
          [&](const std::string& path) { found += "RUN" + path.substr(run.folder.path().size()); });
    } catch (const DataError& error) {
      found = error.what();
    }
  }
  saver.join();
  CHECK(found == "RUN/checkpoints/step_00000002");
}

TEST_CASE("Retention keeps the newest, the multiples, and everything it does not know") {
  const Run run;
  run.save({10, 20, 30, 40, 50});
  fs::create_directories(run.checkpoints + "/step_00000010.backup");
  fs::create_directories(run.checkpoints + "/step_5");
  fs::remove(run.step(10) + "/COMPLETE");  // not complete: neither counted nor removed
  SECTION("keep_last 0 keeps all") {
    apply_retention(run.folder.path(), 0, 0);
    CHECK(run.names().size() == 8);
  }
  SECTION("keep_last") {
    apply_retention(run.folder.path(), 2, 0);
    CHECK(run.names() == Names{"latest", "step_00000010", "step_00000010.backup", "step_00000040",
                               "step_00000050", "step_5"});
  }
  SECTION("keep_every") {
    apply_retention(run.folder.path(), 1, 20);
    CHECK(run.names() == Names{"latest", "step_00000010", "step_00000010.backup", "step_00000020",
                               "step_00000040", "step_00000050", "step_5"});
  }
  SECTION("the marker's own, though others have a higher step") {
    write_bytes(run.checkpoints + "/latest", "step_00000020\n");
    apply_retention(run.folder.path(), 1, 0);
    CHECK(run.names() == Names{"latest", "step_00000010", "step_00000010.backup", "step_00000020",
                               "step_00000050", "step_5"});
  }
  SECTION("what lies beyond the marker is counted apart") {
    write_bytes(run.checkpoints + "/latest", "step_00000030\n");
    apply_retention(run.folder.path(), 2, 0);
    CHECK(run.names() == Names{"latest", "step_00000010", "step_00000010.backup", "step_00000020",
                               "step_00000030", "step_00000040", "step_00000050", "step_5"});
    apply_retention(run.folder.path(), 1, 0);
    CHECK(run.names() == Names{"latest", "step_00000010", "step_00000010.backup", "step_00000030",
                               "step_00000050", "step_5"});
  }
  SECTION("links are left alone") {
    const TemporaryFolder elsewhere;
    fs::rename(run.step(20), elsewhere.file("moved"));
    fs::create_directory_symlink(elsewhere.file("moved"), run.step(20));
    apply_retention(run.folder.path(), 1, 0);
    CHECK(read_example(run.step(20)) == 20);
  }
  SECTION("what an interrupted removal left is not in the way") {
    fs::create_directories(run.checkpoints + "/.tmp-step_00000020/inner");
    apply_retention(run.folder.path(), 3, 0);
    CHECK(run.names() == Names{"latest", "step_00000010", "step_00000010.backup", "step_00000030",
                               "step_00000040", "step_00000050", "step_5"});
  }
  SECTION("a run directory without checkpoints") {
    const TemporaryFolder empty;
    CHECK_NOTHROW(apply_retention(empty.path(), 1, 0));
  }
}

TEST_CASE("What a run counts as removable, its retention removes in its turn") {
  const Run run;
  run.save({10, 20, 30, 40, 50});
  save_example(run.folder.path(), 25, 25, {.keep_last = 0, .course = 1});
  fs::rename(run.step(10), run.folder.file("elsewhere"));
  fs::create_directory_symlink(run.folder.file("elsewhere"), run.step(10));
  CHECK(count_removable(run.folder.path(), 0, 50, 0) == 4);
  CHECK(count_removable(run.folder.path(), 0, 50, 20) == 2);  // 30 and 50
  CHECK(count_removable(run.folder.path(), 0, 40, 20) == 1);
  CHECK(count_removable(run.folder.path(), 1, 50, 20) == 1);
  CHECK(count_removable(run.folder.path(), 2, 50, 0) == 0);
  save_example(run.folder.path(), 60, 60, {.keep_last = 1, .keep_every = 20});
  save_example(run.folder.path(), 70, 70, {.keep_last = 1, .keep_every = 20});
  CHECK(run.names() == Names{"latest", "step_00000010", "step_00000020", "step_00000025",
                             "step_00000040", "step_00000060", "step_00000070"});
}

TEST_CASE("Retention leaves another course of the run directory alone") {
  const Run run;
  const auto save = [&](int step, std::int64_t course) {
    save_example(run.folder.path(), step, step, {.keep_last = 1, .course = course});
  };
  CHECK(next_course(run.folder.path()) == 0);
  run.save({1, 2, 3, 6});
  CHECK(next_course(run.folder.path()) == 1);
  for (const int step : {2, 4, 5}) save(step, 1);
  // Of step 2 there is one no more, since it was saved again.
  CHECK(run.names() ==
        Names{"latest", "step_00000001", "step_00000003", "step_00000005", "step_00000006"});
  CHECK(count_course(run.folder.path(), 0) == 3);
  CHECK(count_course(run.folder.path(), 1) == 1);
  CHECK(next_course(run.folder.path()) == 2);
  save(7, 0);
  CHECK(run.names() == Names{"latest", "step_00000005", "step_00000007"});
}

TEST_CASE("What may not be looked at is not taken for what is not there") {
  const Run run;
  run.save({1});
  const TemporaryFolder& folder = run.folder;
  fs::permissions(folder.path(), fs::perms::none);
  // Root may look everywhere, so it becomes somebody else for a while.
  constexpr uid_t kNobody = 65534;
  const uid_t me = ::geteuid();
  if (me == 0) REQUIRE(::seteuid(kNobody) == 0);
  const std::string latest = run.latest();
  const std::string opened = message_of<DataError>([&] { Reader reader(run.step(1)); });
  const std::string looked = message_of<DataError>([&] { base::exists(run.step(1)); });
  if (me == 0) REQUIRE(::seteuid(me) == 0);
  fs::permissions(folder.path(), fs::perms::owner_all);
  CHECK(latest == "ERROR cannot inspect RUN/checkpoints/latest: Permission denied");
  CHECK(opened.ends_with(": Permission denied"));
  CHECK(looked == "cannot inspect " + run.step(1) + ": Permission denied");
}

TEST_CASE("A save applies the retention and clears away what crashed saves left") {
  const Run run;
  run.save({1, 2});
  fs::create_directories(run.checkpoints + "/.tmp-step_00000009/inner");
  fs::create_directories(run.checkpoints + "/.tmp-mine");
  save_example(run.folder.path(), 3, 3, {.keep_last = 2});
  CHECK(run.names() == Names{".tmp-mine", "latest", "step_00000002", "step_00000003"});
}
