#include "core/base/lock_file.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <memory>
#include <new>
#include <thread>

#include "kernels/common/errors.h"
#include "tests/catch.h"
#include "tests/support/temporary_folder.h"

using namespace seq1f1b;
using namespace seq1f1b::testing;
using base::LockFile;

namespace {

constexpr int kNoLocks = ENOLCK;
int without_locks(int) { return kNoLocks; }

base::Holder holder(const std::string& host, long pid) {
  return {.host = host, .pid = pid, .start = "2025-01-31T12:00:00Z", .job = "77"};
}

std::string refusal(const std::string& path, const base::Holder& who,
                    const LockFile::Lock& lock = LockFile::lock_description) {
  return message_of<ConfigError>([&] { LockFile(path, "RUN", who, lock); });
}

std::string notice(const std::string& path, const base::Holder& who,
                   const LockFile::Lock& lock = LockFile::lock_description) {
  return LockFile(path, "RUN", who, lock).notice();
}

// Of a process that has ended.
pid_t dead_process() {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  ::waitpid(child, nullptr, 0);
  return child;
}

}  // namespace

TEST_CASE("a lock has one holder, whom the others hear of") {
  const TemporaryFolder folder;
  const std::string path = folder.file("lock");
  {
    const LockFile first(path, "RUN", holder("node7", 41));
    CHECK(first.notice().empty());
    CHECK(refusal(path, holder("node8", 12))
              .starts_with("RUN is in use by process 41 on node7 (job 77), started "
                           "2025-01-31T12:00:00Z: "));
    CHECK(read_bytes(path).find("pid 41\n") != std::string::npos);
  }
  CHECK(read_bytes(path).empty());
  CHECK(notice(path, holder("node8", 12)).empty());
}

TEST_CASE("a lock that its holder is about to give back is taken once it is free") {
  const TemporaryFolder folder;
  const std::string path = folder.file("lock");
  long name = 0;  // of the last one: none where it has emptied the file, or one that was killed
  SECTION("emptied") {}
  SECTION("killed") { name = dead_process(); }
  if (name != 0) write_bytes(path, concat("host node7\npid ", name, "\nstart long ago\njob \n"));
  int calls = 0;
  const auto held_at_first = [&](int file) {
    return ++calls <= 3 ? EAGAIN : LockFile::lock_description(file);
  };
  const LockFile lock(path, "RUN", holder("node7", 41), held_at_first);
  CHECK(calls == 4);
  CHECK(lock.notice().empty() == (name == 0));
  CHECK(read_bytes(path).find("pid 41\n") != std::string::npos);
  CHECK(refusal(path, holder("node7", 12)).starts_with("RUN is in use by "));
}

TEST_CASE("a lock whose holder was killed is taken over, and this is said") {
  const TemporaryFolder folder;
  const std::string path = folder.file("lock");
  int ready[2];
  REQUIRE(::pipe(ready) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const LockFile lock(path, "RUN", holder("node7", 41));
    if (::write(ready[1], "x", 1) == 1) ::pause();
    ::_exit(0);
  }
  char byte = 0;
  REQUIRE(::read(ready[0], &byte, 1) == 1);
  CHECK(refusal(path, holder("node7", 42)).find("process 41 on node7") != std::string::npos);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  CHECK(notice(path, holder("node7", 42)) ==
        "RUN is taken over: process 41 on node7 (job 77), started 2025-01-31T12:00:00Z, is gone "
        "without giving it back");
  for (const int end : ready) ::close(end);
}

TEST_CASE("who comes while the holder still writes its name hears of it, not of the one before") {
  const TemporaryFolder folder;
  const std::string path = folder.file("lock");
  const std::string host = base::this_process().host, dead = concat(dead_process());
  for (const bool stale : {false, true}) {
    // On a busy machine the name may come too late; only a defect makes that so every time.
    std::string heard;
    for (int tries = 0;
         tries < 20 && heard.find(concat("process ", ::getpid())) == std::string::npos; ++tries) {
      write_bytes(path, stale ? concat("host ", host, "\npid ", dead, "\n") : "");
      std::thread writer;
      const auto held = [&](int) {  // asked again and again
        if (writer.joinable()) return EAGAIN;
        writer = std::thread([&] {
          std::this_thread::sleep_for(std::chrono::milliseconds(15));
          write_bytes(path, concat("host ", host, "\npid ", ::getpid(), "\nstart now\njob \n"));
        });
        return EAGAIN;
      };
      heard = refusal(path, holder(host, 41), held);
      writer.join();
    }
    CAPTURE(stale, heard);
    CHECK(heard.starts_with(concat("RUN is in use by process ", ::getpid(), " on ", host)));
  }
  write_bytes(path, concat("host ", host, "\npid ", dead, "\nstart then\njob \n"));
  CHECK(refusal(path, holder(host, 41), [](int) { return EAGAIN; })
            .starts_with(concat("RUN is in use by another job, whose name is not known (the last "
                                "one, process ",
                                dead, " on ", host, ", started then, is gone)")));
}

namespace {

// Two processes that do the same at the same time, again and again.
struct Pair {
  static constexpr int kRounds = 1000;
  std::atomic<int> arrived{0};
  std::atomic<int> held{0}, refused{0}, wrong{0};

  // Until both are there for the `count`th time.
  void meet(int count) {
    ++arrived;
    while (arrived < 2 * count) ::sched_yield();
  }

  void run(const std::string& path, const std::string& dead) {
    int meeting = 0;
    const base::Holder me = base::this_process();
    for (int round = 0; round < kRounds; ++round) {
      meet(++meeting);
      std::unique_ptr<LockFile> lock;
      try {
        lock = std::make_unique<LockFile>(concat(path, round), "RUN", me);
        ++held;
      } catch (const ConfigError& error) {
        const bool blames_dead =
            std::string(error.what()).starts_with(concat("RUN is in use by process ", dead, " "));
        ++(blames_dead ? wrong : refused);
      } catch (const std::exception&) {
        ++wrong;
      }
      meet(++meeting);
    }
  }
};

}  // namespace

TEST_CASE("of two that come at once one gets the lock, and the other hears who has it") {
  const TemporaryFolder folder(memory_parent());
  const std::string dead = concat(dead_process());
  for (int round = 1; round < Pair::kRounds; round += 2)  // the others are new
    write_bytes(folder.file(concat("lock", round)),
                concat("host ", base::this_process().host, "\npid ", dead, "\n"));
  void* shared =
      ::mmap(nullptr, sizeof(Pair), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  REQUIRE(shared != MAP_FAILED);
  Pair* pair = new (shared) Pair;
  std::array<pid_t, 2> children{};
  for (pid_t& child : children) {
    child = ::fork();
    if (child == 0) {
      pair->run(folder.file("lock"), dead);
      ::_exit(0);
    }
  }
  for (const pid_t child : children) ::waitpid(child, nullptr, 0);
  CHECK(pair->held == Pair::kRounds);
  CHECK(pair->refused == Pair::kRounds);
  CHECK(pair->wrong == 0);
  ::munmap(shared, sizeof(Pair));
}

TEST_CASE("what a holder has started does not keep its lock") {
  const TemporaryFolder folder;
  const std::string path = folder.file("lock");
  auto lock = std::make_unique<LockFile>(path, "RUN", holder("node7", 41));
  // A program that it runs, and a copy of itself after the lock is given back.
  const pid_t program = ::fork();
  if (program == 0) {
    ::execlp("sleep", "sleep", "60", nullptr);
    ::_exit(1);
  }
  const pid_t copy = ::fork();
  if (copy == 0) {
    ::pause();
    ::_exit(0);
  }
  CHECK(refusal(path, holder("node7", 42)) != "(nothing was thrown)");
  lock.reset();
  CHECK(refusal(path, holder("node7", 42)) == "(nothing was thrown)");
  for (const pid_t child : {program, copy}) {
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
  }
}

TEST_CASE("where there are no locks the word of the file counts, and this is said") {
  const TemporaryFolder folder;
  const std::string path = folder.file("lock");
  const std::string no_locks =
      "the file system of RUN has no locks (No locks available): nobody notices another job in it";
  CHECK(notice(path, holder("node7", 42), without_locks) == no_locks);
  const auto left_by = [&](const base::Holder& who) {
    write_bytes(path, concat("host ", who.host, "\npid ", who.pid, "\nstart ", who.start, "\njob ",
                             who.job, "\n"));
  };
  left_by(holder("node7", ::getpid()));  // which runs
  CHECK(refusal(path, holder("node7", 1), without_locks).find(concat("process ", ::getpid())) !=
        std::string::npos);
  left_by(holder("node7", dead_process()));
  CHECK(notice(path, holder("node7", ::getpid()), without_locks) == no_locks);
  left_by(holder("node8", 41));  // nobody here can tell
  CHECK(notice(path, holder("node7", ::getpid()), without_locks) ==
        no_locks +
            "; the last one, process 41 on node8 (job 77), started 2025-01-31T12:00:00Z, did not "
            "say that it has ended");
}

TEST_CASE("what is not a lock of ours stays as it is") {
  const TemporaryFolder folder;
  const std::string path = folder.file("lock"), precious = folder.file("precious");
  write_bytes(precious, "words\n");
  const auto refused = [&] {
    return message_of<DataError>([&] { LockFile(path, "RUN", holder("node7", 41)); });
  };
  REQUIRE(::symlink(precious.c_str(), path.c_str()) == 0);
  CHECK(refused().starts_with("cannot open " + path));
  REQUIRE(::unlink(path.c_str()) == 0);
  write_bytes(path, "words\n");
  CHECK(refused().starts_with(path + " is no lock of this program's"));
  CHECK(read_bytes(path) == "words\n");
  CHECK(read_bytes(precious) == "words\n");
  REQUIRE(::unlink(path.c_str()) == 0);
  REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
  CHECK(refused().starts_with(path + " is no lock of this program's"));
}

TEST_CASE("a holder notices that its lock was removed, or replaced by another's") {
  const TemporaryFolder folder;
  const std::string path = folder.file("lock");
  const LockFile first(path, "RUN", holder("node7", 41));
  CHECK_NOTHROW(first.require_held());
  REQUIRE(::unlink(path.c_str()) == 0);
  CHECK(message_of<DataError>([&] { first.require_held(); }).ends_with("another job may use RUN"));
  const LockFile second(path, "RUN", holder("node8", 12));
  CHECK_THROWS_AS(first.require_held(), DataError);
  CHECK_NOTHROW(second.require_held());
}
