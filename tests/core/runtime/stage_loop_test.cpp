#include "core/runtime/stage_loop.h"

#include <array>
#include <cstring>
#include <deque>
#include <future>
#include <thread>

#include "core/comm/world.h"
#include "core/schedule/catalogue.h"
#include "kernels/common/errors.h"
#include "kernels/common/host_device.h"
#include "tests/catch.h"
#include "tests/core/comm/queued_device.h"
#include "tests/core/comm/rank_threads.h"
#include "tests/core/comm/world_bodies.h"
#include "tests/core/runtime/edge_ends.h"

namespace seq1f1b::runtime {
namespace {

using schedule::Action;
using schedule::Kind;

// What travels in the tests: which unit of which stage produced it.
struct Message {
  std::int32_t stage, micro_batch, segment, kind;
};

// Checks that every message comes from the right unit of the right neighbour, and sends its own.
class CheckingRunner final : public ActionRunner {
 public:
  CheckingRunner(int stage, int stages) : stage_(stage), stages_(stages) {}

  void take(const Action& action, std::size_t, const std::byte* received) override {
    Message message;
    std::memcpy(&message, received, sizeof message);
    if (message.stage != source(action) || message.micro_batch != action.unit.micro_batch ||
        message.segment != action.unit.segment || message.kind != static_cast<int>(action.kind))
      ++wrong;
    taken_ = true;
  }
  void run(const Action& action, std::size_t, std::byte* output) override {
    const bool at_start = source(action) < 0 || source(action) >= stages_;
    if (taken_ == at_start) ++wrong;
    taken_ = false;
    if (output) {
      const Message message{stage_, action.unit.micro_batch, action.unit.segment,
                            static_cast<int>(action.kind)};
      std::memcpy(output, &message, sizeof message);
    }
    ++ran;
  }
  int ran = 0, wrong = 0;

 private:
  int source(const Action& action) const {
    return action.kind == Kind::kForward ? stage_ - 1 : stage_ + 1;
  }
  int stage_, stages_;
  bool taken_ = false;
};

// Counts what it is asked to do.
class CountingRunner final : public ActionRunner {
 public:
  void take(const Action&, std::size_t, const std::byte*) override {}
  void run(const Action&, std::size_t, std::byte*) override { ++ran; }
  int ran = 0;
};

// One rank's ends of all channels, over rings of its own.
struct Ends {
  std::deque<std::array<std::byte, 64>> memory;
  testing::EdgeEnds of_rank;

  Ends(comm::World& world, const schedule::Schedule& schedule)
      : of_rank(world, world.rank(), schedule, [this](int buffers) {
          std::vector<std::span<std::byte>> ring;
          for (int i = 0; i < buffers; ++i) ring.emplace_back(memory.emplace_back());
          return ring;
        }) {}
};

}  // namespace

TEST_CASE("the loop brings every message of every schedule to the right action", "[runtime]") {
  for (const char* name : {"gpipe", "1f1b", "terapipe", "seq1f1b", "forward_only"})
    for (int ranks : {1, 2, 3, 5}) {
      const bool whole = std::string(name) == "gpipe" || std::string(name) == "1f1b";
      const int segments = whole ? 1 : 3;
      const auto schedule = schedule::make_schedule(
          {.name = name, .ranks = ranks, .chunks = 1, .micro_batches = 4, .segments = segments});
      auto worlds = comm::make_in_process_worlds(ranks);
      std::vector<CheckingRunner> runners;
      for (int rank = 0; rank < ranks; ++rank) runners.emplace_back(rank, ranks);
      std::vector<std::thread> team;
      for (int rank = 0; rank < ranks; ++rank)
        team.emplace_back([&, rank] {
          const auto at = static_cast<std::size_t>(rank);
          Ends ends(*worlds[at], schedule);
          kernels::HostDevice device("host");
          const auto fabric = comm::connect_devices(*worlds[at], device);
          StageLoop loop(
              schedule, rank, ends.of_rank.ports, [](schedule::Unit) { return sizeof(Message); },
              *fabric, device, nullptr);
          for (int step = 1; step <= 2; ++step) loop.run(runners[at], step);
        });
      for (auto& member : team) member.join();
      for (std::size_t rank = 0; rank < runners.size(); ++rank) {
        INFO(name << " rank " << rank << " of " << ranks);
        CHECK(runners[rank].wrong == 0);
        CHECK(static_cast<std::size_t>(runners[rank].ran) == 2 * schedule.orders[rank].size());
      }
    }
}

TEST_CASE("an unresponsive peer ends the wait with rank, action, unit and peer", "[runtime]") {
  const auto schedule = schedule::make_schedule(
      {.name = "seq1f1b", .ranks = 2, .chunks = 1, .micro_batches = 2, .segments = 2});
  comm::WorldOptions options;
  options.deadline = std::chrono::duration<double>(0.2);
  auto worlds = comm::make_in_process_worlds(2, options);
  Ends ends(*worlds[1], schedule);
  kernels::HostDevice device("host");
  const auto fabric = comm::connect_devices(*worlds[1], device);
  StageLoop loop(
      schedule, 1, ends.of_rank.ports, [](schedule::Unit) { return sizeof(Message); }, *fabric,
      device, nullptr);
  CheckingRunner runner(1, 2);
  std::string message;
  try {
    loop.run(runner, 12);
  } catch (const DeadlineError& error) {
    message = error.what();
  }
  INFO(message);
  CHECK(message.find("rank 1") != std::string::npos);
  CHECK(message.find("running the forward of micro-batch 1, segment 1 (step 12, schedule "
                     "seq1f1b), which needs the activation of pipeline rank 0") !=
        std::string::npos);
}

// Where messages are waited for on the device, the host goes on for a few actions and then says
// which one the device is stuck in.
TEST_CASE("a device that waits for an unresponsive peer is named with its oldest action",
          "[runtime]") {
  const auto schedule = schedule::make_schedule(
      {.name = "seq1f1b", .ranks = 2, .chunks = 1, .micro_batches = 8, .segments = 2});
  const std::string ring_path = std::string(SEQ1F1B_BINARY_DIR) + "/stuck_device_test.ring";
  int issued = 0;
  std::string message;
  const bool named = comm::testing::at_some_deadline([&](double deadline) {
    comm::testing::Machine machine(5);
    auto worlds = comm::make_in_process_worlds(2, comm::testing::with_deadline(deadline));
    message.clear();
    comm::testing::run_ranks(worlds, [&](comm::World& world) {
      comm::testing::QueuedDevice device(machine);
      comm::DirectFabric fabric(world, device, machine.factory(world.rank()));
      comm::testing::DeviceRing received(device, 2, 64), sent(device, 1, 64);
      ChunkPorts ports;
      std::unique_ptr<comm::Sender> sender;
      std::unique_ptr<comm::Receiver> receiver;
      if (world.rank() == 0) {
        sender = fabric.make_sender(1, 0, sent.buffers());
        receiver = fabric.make_receiver(1, 3, received.buffers());
        fabric.connect();
        return;  // and sends nothing
      }
      receiver = fabric.make_receiver(0, 0, received.buffers());
      sender = fabric.make_sender(0, 3, sent.buffers());
      ports[schedule::Flow::kActivation].receiver = receiver.get();
      ports[schedule::Flow::kActivation].from_rank = 0;
      ports[schedule::Flow::kGradient].sender = sender.get();
      ports[schedule::Flow::kGradient].to_rank = 0;
      fabric.connect();
      ActionRing ring(ring_path);
      StageLoop loop(
          schedule, 1, {ports}, [](schedule::Unit) { return std::size_t{64}; }, fabric, device,
          &ring);
      CountingRunner runner;
      try {
        loop.run(runner, 12);
      } catch (const DeadlineError& error) {
        message = error.what();
      }
      issued = runner.ran;
    });
    return comm::testing::contains(
        message,
        "running the forward of micro-batch 1, segment 1 (step 12, schedule seq1f1b), which needs "
        "the activation of pipeline rank 0");
  });
  INFO(message);
  CHECK(named);
  CHECK(issued <= static_cast<int>(StageLoop::kMostAhead));
  for (const auto& entry : read_action_ring(ring_path).entries) CHECK(entry.phase != Phase::kDone);
}

// A queue that is full lets a launch wait for the device, and the device may wait for a peer.
TEST_CASE("an action that does not get into the device's queue ends with the deadline",
          "[runtime]") {
  class BlockedRunner final : public ActionRunner {
   public:
    void take(const Action&, std::size_t, const std::byte*) override {}
    void run(const Action& action, std::size_t, std::byte*) override {
      if (action.kind == Kind::kBackward) expired.get_future().wait_for(std::chrono::seconds(60));
    }
    std::promise<void> expired;
  } runner;
  const auto schedule = schedule::make_schedule(
      {.name = "seq1f1b", .ranks = 1, .chunks = 1, .micro_batches = 1, .segments = 1});
  std::string message;
  // Long enough that the forward is through with it on a busy machine.
  comm::WorldOptions options = comm::testing::with_deadline(1);
  options.on_deadline = [&](const std::string& text) {
    message = text;
    runner.expired.set_value();
  };
  auto worlds = comm::make_in_process_worlds(1, options);
  comm::testing::Machine machine(1);
  comm::testing::QueuedDevice device(machine);
  const auto fabric = comm::make_staged_fabric(*worlds[0], device);
  StageLoop loop(
      schedule, 0, {ChunkPorts{}}, [](schedule::Unit) { return std::size_t{64}; }, *fabric, device,
      nullptr);
  // A job ends with the message. Here the loop goes on, and hears of it where it still waits for
  // the device: not where that was the faster.
  try {
    loop.run(runner, 7);
  } catch (const DeadlineError&) {
  }
  INFO(message);
  CHECK(comm::testing::contains(message,
                                "made no progress for 1 s while running the backward of "
                                "micro-batch 1, segment 1 (step 7, schedule seq1f1b)"));
}

TEST_CASE("an order longer than a device has stamps is timed in part", "[runtime]") {
  const int micro_batches = kernels::Device::kTimeStamps / 2;  // twice as many actions
  const auto schedule = schedule::make_schedule(
      {.name = "seq1f1b", .ranks = 1, .chunks = 1, .micro_batches = micro_batches, .segments = 1});
  kernels::HostDevice device("host");
  auto worlds = comm::make_in_process_worlds(1);
  const auto fabric = comm::connect_devices(*worlds[0], device);
  StageLoop loop(
      schedule, 0, {ChunkPorts{}}, [](schedule::Unit) { return std::size_t{64}; }, *fabric, device,
      nullptr);
  CountingRunner runner;
  loop.run(runner, 1);
  CHECK(runner.ran == 2 * micro_batches);
  CHECK(loop.timed_every() == 3);  // odd: forwards and backwards alike
  CHECK(loop.times().size() == static_cast<std::size_t>((2 * micro_batches + 2) / 3));
  CHECK(loop.busy_seconds() > 0);
  CHECK(loop.total_seconds() >= loop.times().back().end);
}

TEST_CASE("the ring of last actions is read back from its file", "[runtime]") {
  const std::string path = std::string(SEQ1F1B_BINARY_DIR) + "/action_ring_test.ring";
  ActionRing ring(path);
  const int count = static_cast<int>(ActionRing::kEntries) + 10;
  for (int i = 1; i <= count; ++i) ring.record(3, Action{Kind::kBackward, 0, {i, 1}}, Phase::kRuns);
  // Not closed: what another process sees after this one was killed.
  const auto entries = read_action_ring(path).entries;
  REQUIRE(entries.size() == ActionRing::kEntries);
  CHECK(entries.front().sequence == 11);
  CHECK(entries.back().action.unit.micro_batch == count);
  CHECK(entries.back().step == 3);
  CHECK(entries.back().phase == Phase::kRuns);
  CHECK_THROWS_AS(read_action_ring(SEQ1F1B_SOURCE_DIR "/README.md"), DataError);
}

}  // namespace seq1f1b::runtime
