#include "core/runtime/stage_loop.h"

#include <cstring>
#include <thread>

#include "core/comm/world.h"
#include "core/schedule/schedule.h"
#include "kernels/common/errors.h"
#include "kernels/common/host_device.h"
#include "tests/catch.h"

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

// One rank's ends of all channels, over rings of its own.
struct Ends {
  std::vector<std::vector<std::byte>> memory;
  std::vector<std::unique_ptr<comm::Sender>> senders;
  std::vector<std::unique_ptr<comm::Receiver>> receivers;
  ChunkChannels channels;

  Ends(comm::World& world, const schedule::Schedule& schedule) {
    const auto ring = [&](int buffers) {
      std::vector<std::span<std::byte>> spans;
      for (int i = 0; i < buffers; ++i) {
        memory.emplace_back(64);
        spans.emplace_back(memory.back());
      }
      return spans;
    };
    memory.reserve(16);
    const schedule::ChannelDepth depth;
    for (const auto& channel : schedule::channels_of(schedule)) {
      const bool activation = channel.direction == schedule::Direction::kActivation;
      const int id = channel.producing_stage * 2 + (activation ? 0 : 1);
      if (channel.from_rank == world.rank()) {
        senders.push_back(world.make_sender(channel.to_rank, id, ring(depth.send_buffers)));
        (activation ? channels.activation_out : channels.gradient_out) = senders.back().get();
        (activation ? channels.next_rank : channels.previous_rank) = channel.to_rank;
      }
      if (channel.to_rank == world.rank()) {
        receivers.push_back(
            world.make_receiver(channel.from_rank, id, ring(depth.receive_buffers)));
        (activation ? channels.activation_in : channels.gradient_in) = receivers.back().get();
        (activation ? channels.previous_rank : channels.next_rank) = channel.from_rank;
      }
    }
  }
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
              schedule, rank, {ends.channels},
              std::vector<std::size_t>(static_cast<std::size_t>(segments), sizeof(Message)),
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

TEST_CASE("a peer that stays away ends the wait with rank, action, unit and peer", "[runtime]") {
  const auto schedule = schedule::make_schedule(
      {.name = "seq1f1b", .ranks = 2, .chunks = 1, .micro_batches = 2, .segments = 2});
  comm::WorldOptions options;
  options.deadline = std::chrono::duration<double>(0.2);
  auto worlds = comm::make_in_process_worlds(2, options);
  Ends ends(*worlds[1], schedule);
  kernels::HostDevice device("host");
  const auto fabric = comm::connect_devices(*worlds[1], device);
  StageLoop loop(schedule, 1, {ends.channels}, {sizeof(Message), sizeof(Message)}, *fabric, device,
                 nullptr);
  CheckingRunner runner(1, 2);
  std::string message;
  try {
    loop.run(runner, 12);
  } catch (const DeadlineError& error) {
    message = error.what();
  }
  INFO(message);
  CHECK(message.find("rank 1") != std::string::npos);
  CHECK(message.find("running the forward of micro-batch 0, segment 0, chunk 0 (step 12, schedule "
                     "seq1f1b), which needs the activation of pipeline rank 0") !=
        std::string::npos);
}

TEST_CASE("the ring of last actions is read back from its file", "[runtime]") {
  const std::string path = std::string(SEQ1F1B_BINARY_DIR) + "/action_ring_test.ring";
  ActionRing ring(path);
  const int count = static_cast<int>(ActionRing::kEntries) + 10;
  for (int i = 1; i <= count; ++i) ring.record(3, Action{Kind::kBackward, 0, {i, 1}}, Phase::kRuns);
  // Not closed: what another process sees after this one was killed.
  const auto entries = read_action_ring(path);
  REQUIRE(entries.size() == ActionRing::kEntries);
  CHECK(entries.front().sequence == 11);
  CHECK(entries.back().action.unit.micro_batch == count);
  CHECK(entries.back().step == 3);
  CHECK(entries.back().phase == Phase::kRuns);
  CHECK_THROWS_AS(read_action_ring(SEQ1F1B_SOURCE_DIR "/README.md"), DataError);
}

}  // namespace seq1f1b::runtime
