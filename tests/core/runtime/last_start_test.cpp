// What rings tell of the last start in a run directory.
#include "core/runtime/last_start.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>

#include "kernels/common/errors.h"
#include "tests/catch.h"
#include "tests/support/temporary_folder.h"

namespace seq1f1b::runtime {
namespace {

using testing::TemporaryFolder;

const schedule::Action kForward{schedule::Kind::kForward, 0, {2, 0}};

std::string ring_of(const TemporaryFolder& folder, int rank) {
  char name[32];
  std::snprintf(name, sizeof name, "rank_%05d.ring", rank);
  return folder.file(name);
}

// A rank of a start that `ranks` belong to.
void leave(const TemporaryFolder& folder, int rank, int ranks, Ending ending,
           std::int64_t start = 1) {
  ActionRing ring(ring_of(folder, rank), {.unix_nanoseconds = start, .ranks = ranks}, rank);
  if (rank > 0) ring.record(12, kForward, rank % 2 ? Phase::kRuns : Phase::kDone);
  ring.end(ending);
}

std::string lost_of(const std::vector<Ending>& endings) {
  const TemporaryFolder folder;
  const int ranks = static_cast<int>(endings.size());
  for (int rank = 0; rank < ranks; ++rank)
    leave(folder, rank, ranks, endings[static_cast<std::size_t>(rank)]);
  return lost_ranks(read_last_start(folder.path()));
}

}  // namespace

TEST_CASE("ranks that stopped without a word are named with what they did", "[runtime]") {
  constexpr Ending kNone = Ending::kNone, kSignal = Ending::kSignal;
  CHECK(lost_of({kSignal, kNone, kSignal}) ==
        "the last start here was lost: of its 3 ranks rank 1 in the forward of micro-batch 3, "
        "segment 1 (step 12) stopped without a word: killed (for memory?), crashed, or its machine "
        "failed");
  CHECK(lost_of({kNone, kSignal, kNone})
            .find("of its 3 ranks rank 0 before its first action, rank 2 after the forward of "
                  "micro-batch 3, segment 1 (step 12) stopped") != std::string::npos);
  CHECK(lost_of(std::vector<Ending>(1000, kNone)).find(", 997 more stopped") != std::string::npos);
}

TEST_CASE("a start that ended, failed in words or was asked to end has lost nobody", "[runtime]") {
  constexpr Ending kNone = Ending::kNone, kSignal = Ending::kSignal;
  for (const Ending word : {Ending::kComplete, Ending::kTold}) {
    CHECK(lost_of({word, word}).empty());
    CHECK(lost_of({word, kNone}).empty());
    CHECK(lost_of({kNone, kSignal, word}).empty());
  }
  CHECK(lost_of({kSignal, kSignal}).empty());
  CHECK(lost_of({}).empty());
}

TEST_CASE("only rings of the last start count, whatever an older one left", "[runtime]") {
  const TemporaryFolder folder;
  for (int rank = 0; rank < 4; ++rank) leave(folder, rank, 4, Ending::kNone, 1);
  for (int rank = 0; rank < 2; ++rank) leave(folder, rank, 2, Ending::kComplete, 2);
  const LastStart last = read_last_start(folder.path());
  CHECK(last.start == ActionRing::Start{2, 2});
  REQUIRE(last.rings.size() == 2);
  for (int rank = 0; rank < 2; ++rank)
    CHECK(last.rings[static_cast<std::size_t>(rank)].rank == rank);
  CHECK(last.left_over == std::vector<std::string>{"rank_00002", "rank_00003"});
  CHECK(lost_ranks(last).empty());
}

TEST_CASE("a rank that was lost before it had a ring is named too", "[runtime]") {
  const TemporaryFolder folder;
  leave(folder, 2, 3, Ending::kComplete, 1);
  leave(folder, 0, 3, Ending::kSignal, 2);
  leave(folder, 1, 3, Ending::kSignal, 2);
  CHECK(lost_ranks(read_last_start(folder.path())).find("rank 2 before it began stopped") !=
        std::string::npos);
}

TEST_CASE("a ring that cannot be read hides no other", "[runtime]") {
  const TemporaryFolder folder;
  for (int rank = 0; rank < 3; ++rank)
    leave(folder, rank, 3, rank == 0 ? Ending::kSignal : Ending::kNone, 2);
  leave(folder, 5, 6, Ending::kNone, 1);
  const std::string ring = testing::read_bytes(ring_of(folder, 2));
  std::string older = ring;
  older[7] = '1';  // the version
  for (const std::string& text : {ring.substr(0, 100), older, std::string()}) {
    testing::write_bytes(ring_of(folder, 2), text);
    testing::write_bytes(ring_of(folder, 7), text);
    const LastStart last = read_last_start(folder.path());
    CHECK(last.rings.size() == 2);
    CHECK(last.left_over == std::vector<std::string>{"rank_00002", "rank_00005", "rank_00007"});
    CHECK(lost_ranks(last).find("of its 3 ranks rank 1 in the forward of micro-batch 3, segment 1 "
                                "(step 12), rank 2 before it began stopped") != std::string::npos);
  }
}

TEST_CASE("a folder without rings has no last start, nor has one with something else",
          "[runtime]") {
  const TemporaryFolder folder;
  CHECK(read_last_start(folder.path()).rings.empty());
  CHECK(read_last_start(folder.file("missing")).rings.empty());
  testing::write_bytes(ring_of(folder, 0), "something else");
  CHECK(read_last_start(folder.path()).rings.empty());
  CHECK(read_last_start(folder.path()).left_over == std::vector<std::string>{"rank_00000"});
}

TEST_CASE("a signal that asks a process to end leaves word, one that kills it does not",
          "[runtime]") {
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGKILL}) {
    const TemporaryFolder folder;
    int pipe[2];
    REQUIRE(::pipe(pipe) == 0);
    const pid_t child = ::fork();
    if (child == 0) {
      ::signal(signal, SIG_DFL);  // not the test harness's
      ActionRing ring(ring_of(folder, 0), {.unix_nanoseconds = 1, .ranks = 1}, 0);
      ring.note_signals("farewell");
      ::dup2(pipe[1], STDERR_FILENO);
      ::raise(signal);
      ::_exit(0);
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK(WIFSIGNALED(status));
    CHECK(WTERMSIG(status) == signal);
    CHECK(read_action_ring(ring_of(folder, 0)).ending ==
          (signal == SIGKILL ? Ending::kNone : Ending::kSignal));
    ::close(pipe[1]);
    std::array<char, 100> said{};
    const auto bytes = ::read(pipe[0], said.data(), said.size());
    ::close(pipe[0]);
    CHECK(std::string(said.data(), static_cast<std::size_t>(bytes)) ==
          (signal == SIGKILL ? "" : "farewell"));
  }
}

// Whoever should read it may hang, too.
TEST_CASE("a signal ends a process also where standard error takes nothing", "[runtime]") {
  const TemporaryFolder folder;
  int pipe[2];
  REQUIRE(::pipe(pipe) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    ::signal(SIGTERM, SIG_DFL);
    ::fcntl(pipe[1], F_SETFL, O_NONBLOCK);
    const std::array<char, 4096> page{};
    while (::write(pipe[1], page.data(), page.size()) > 0) {
    }
    ::fcntl(pipe[1], F_SETFL, 0);
    ::dup2(pipe[1], STDERR_FILENO);
    ActionRing ring(ring_of(folder, 0), {.unix_nanoseconds = 1, .ranks = 1}, 0);
    ring.note_signals("farewell");
    ::raise(SIGTERM);
    ::_exit(0);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WIFSIGNALED(status));
  CHECK(read_action_ring(ring_of(folder, 0)).ending == Ending::kSignal);
  ::close(pipe[0]);
  ::close(pipe[1]);
}

}  // namespace seq1f1b::runtime
