#include "core/comm/watch.h"

#include <chrono>
#include <mutex>
#include <thread>
#include <utility>

#include "core/comm/world.h"
#include "kernels/common/errors.h"
#include "tests/catch.h"
#include "tests/core/comm/rank_threads.h"

using namespace seq1f1b;
using namespace seq1f1b::comm;
using namespace std::chrono_literals;

namespace {

constexpr std::chrono::duration<double> kDeadline{0.2};

// What a watchdog said, and that it said it once.
class Reports {
 public:
  void add(const std::string& what) {
    const std::lock_guard lock(mutex_);
    texts_.push_back(what);
  }
  // Waits for the first one, much longer than it should take.
  std::vector<std::string> within(std::chrono::seconds limit) {
    const auto end = std::chrono::steady_clock::now() + limit;
    while (std::chrono::steady_clock::now() < end && all().empty())
      std::this_thread::sleep_for(5ms);
    return all();
  }
  std::vector<std::string> all() {
    const std::lock_guard lock(mutex_);
    return texts_;
  }

 private:
  std::mutex mutex_;
  std::vector<std::string> texts_;
};

}  // namespace

TEST_CASE("what makes no progress before the deadline is named, once") {
  Reports reports;
  Watchdog dog(kDeadline, [&](const std::string& what) { reports.add(what); });
  const auto watch = dog.watch("reading a pipe");
  CHECK(reports.within(30s) == std::vector<std::string>{"reading a pipe"});
  std::this_thread::sleep_for(2 * kDeadline);
  CHECK(reports.all().size() == 1);
}

TEST_CASE("the detail of what is next stands in the report") {
  Reports reports;
  Watchdog dog(kDeadline, [&](const std::string& what) { reports.add(what); });
  const auto watch = dog.watch("saving");
  watch->next("write /a");
  watch->next("write /b");
  CHECK(reports.within(30s) == std::vector<std::string>{"saving (write /b)"});
}

TEST_CASE("the innermost watch counts, then the one around it again") {
  Reports reports;
  Watchdog dog(kDeadline, [&](const std::string& what) { reports.add(what); });
  const auto outer = dog.watch("outer");
  dog.watch("inner").reset();
  CHECK(reports.within(30s) == std::vector<std::string>{"outer"});
}

// Lasts longer than the deadline in all: without the steps, or without the end, it would have been
// reported, as the cases above show. On a busy machine a step may itself be late by the deadline,
// rightly so: then once more, with a longer one.
TEST_CASE("what comes on, and what is over, may take as long as it likes") {
  using Clock = std::chrono::steady_clock;
  for (std::chrono::duration<double> deadline = kDeadline;; deadline *= 4) {
    Reports reports;
    Watchdog dog(deadline, [&](const std::string& what) { reports.add(what); });
    Clock::duration longest{0};
    {
      const auto watch = dog.watch("writing in many pieces");
      const auto begin = Clock::now();
      for (auto before = begin; before - begin < 1.5 * deadline;) {
        std::this_thread::sleep_for(deadline / 10);
        watch->next("piece");
        const auto now = Clock::now();
        longest = std::max(longest, now - before);
        before = now;
      }
    }
    std::this_thread::sleep_for(1.5 * deadline);
    if (longest > deadline / 2) continue;
    CHECK(reports.all().empty());
    break;
  }
}

TEST_CASE("a rank that hangs tells the log, and all its later waits fail") {
  Reports reports;
  WorldOptions options = testing::with_deadline(0.2);
  options.on_deadline = [&](const std::string& message) { reports.add(message); };
  auto worlds = make_in_process_worlds(1, options);
  const auto group = worlds[0]->make_group(std::vector<int>{0});
  {
    const auto watch = group->watch("loading the tokenizer");
    reports.within(30s);
  }
  REQUIRE(reports.all().size() == 1);
  const std::string message = reports.all().front();
  INFO(message);
  CHECK(message.starts_with("rank 0 ("));
  CHECK(message.ends_with("): made no progress for 0.2 s while loading the tokenizer"));
  bool over = false;
  std::string failure;
  try {
    const auto nobody = [] { return std::string("nobody"); };
    worlds[0]->wait_until([&] { return std::exchange(over, true); }, nobody, nobody);
  } catch (const DeadlineError& error) {
    failure = error.what();
  }
  CHECK(failure == message);
}
