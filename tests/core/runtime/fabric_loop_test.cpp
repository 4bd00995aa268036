// Every schedule over every fabric on devices that work behind their hosts' backs: all messages
// come to the right action, at the depths that the validator proved, wherever the hosts wait.
//
// That a schedule completes here proves that it does at any speed of hosts, devices and links.
// Hosts and queues do one thing after the other, each begins when certain others are done, and what
// is done stays done: no order in which they get their turns lets less of them end than another. (A
// host looks whether an event is done only to leave out a wait that is over.)
#include <cstring>
#include <functional>
#include <latch>
#include <stdexcept>

#include "core/comm/fabric.h"
#include "core/runtime/stage_loop.h"
#include "core/schedule/catalogue.h"
#include "core/schedule/schedule.h"
#include "kernels/common/errors.h"
#include "tests/catch.h"
#include "tests/core/comm/queued_device.h"
#include "tests/core/comm/rank_threads.h"
#include "tests/core/comm/world_bodies.h"
#include "tests/core/runtime/edge_ends.h"
#include "tests/core/schedule/hand_made.h"

namespace seq1f1b::runtime {
namespace {

using comm::testing::Machine;
using comm::testing::QueuedDevice;
using schedule::Action;
using schedule::Kind;

constexpr std::size_t kMessageBytes = 64;

// What travels: which unit of which stage produced it.
struct Message {
  std::int32_t stage, micro_batch, segment, kind;
  friend bool operator==(const Message&, const Message&) = default;
};

// Its actions are work on the device's main queue, which reads and writes the messages there. With
// `in_step` the host waits for every action, as one that reads a result back would.
class QueuedRunner final : public ActionRunner {
 public:
  QueuedRunner(const schedule::Schedule& schedule, int rank, QueuedDevice& device,
               comm::Fabric& fabric, bool in_step)
      : schedule_(schedule),
        rank_(rank),
        device_(device),
        fabric_(fabric),
        in_step_(in_step),
        issued_(device.make_event()) {}

  void take(const Action& action, std::size_t, const std::byte* received) override {
    const int source = stage_of(action) + (action.kind == Kind::kForward ? -1 : 1);
    device_.issue([received, wrong = &wrong, expected = message_of(action, source)] {
      Message message;
      std::memcpy(&message, received, sizeof message);
      if (!(message == expected)) ++*wrong;
    });
  }
  void run(const Action& action, std::size_t, std::byte* output) override {
    if (hang) hang(action.kind);
    if (output)
      device_.issue([output, message = message_of(action, stage_of(action))] {
        std::memcpy(output, &message, sizeof message);
      });
    device_.issue([ran = &ran] { ++*ran; });
    if (in_step_) wait_for();
  }

  void wait_for() {
    device_.record(*issued_);
    fabric_.wait_for(*issued_, [] { return std::string("running a schedule"); });
  }

  int ran = 0, wrong = 0;          // touched by the device; to be read after wait_for()
  std::function<void(Kind)> hang;  // called before an action

 private:
  int stage_of(const Action& action) const {
    return schedule::stage_of(schedule_, static_cast<std::size_t>(rank_), action);
  }
  static Message message_of(const Action& action, int stage) {
    return {stage, action.unit.micro_batch, action.unit.segment, static_cast<int>(action.kind)};
  }

  const schedule::Schedule& schedule_;
  const int rank_;
  QueuedDevice& device_;
  comm::Fabric& fabric_;
  const bool in_step_;
  const std::unique_ptr<kernels::Event> issued_;
};

// One rank's ends of all channels, connected.
struct Ends {
  std::vector<std::unique_ptr<comm::testing::DeviceRing>> rings;
  testing::EdgeEnds of_rank;

  Ends(comm::Fabric& fabric, QueuedDevice& device, const schedule::Schedule& schedule)
      : of_rank(fabric, fabric.world().rank(), schedule, [&](int buffers) {
          rings.push_back(std::make_unique<comm::testing::DeviceRing>(
              device, static_cast<std::size_t>(buffers), kMessageBytes));
          return rings.back()->buffers();
        }) {
    fabric.connect();
  }
};

std::unique_ptr<comm::Fabric> make_fabric(bool direct, comm::World& world, QueuedDevice& device,
                                          Machine& machine) {
  if (!direct) return comm::make_staged_fabric(world, device);
  return std::make_unique<comm::DirectFabric>(world, device, machine.factory(world.rank()));
}

void run_schedule(const schedule::Schedule& schedule, bool direct, bool in_step, unsigned seed) {
  const int ranks = schedule.spec.ranks;
  Machine machine(seed);
  auto worlds = comm::make_in_process_worlds(ranks, comm::testing::with_deadline(30));
  const auto failures = comm::testing::run_ranks(worlds, [&](comm::World& world) {
    QueuedDevice device(machine);
    const auto fabric = make_fabric(direct, world, device, machine);
    QueuedRunner runner(schedule, world.rank(), device, *fabric, in_step);
    Ends ends(*fabric, device, schedule);
    StageLoop loop(
        schedule, world.rank(), ends.of_rank.ports, [](schedule::Unit) { return kMessageBytes; },
        *fabric, device, nullptr);
    for (int step = 1; step <= 2; ++step) loop.run(runner, step);
    runner.wait_for();
    const auto& order = schedule.orders[static_cast<std::size_t>(world.rank())];
    EXPECT(runner.wrong == 0);
    EXPECT(static_cast<std::size_t>(runner.ran) == 2 * order.size());
  });
  INFO(schedule.spec.name << ", " << ranks << " ranks, " << schedule.spec.chunks << " chunks, "
                          << schedule.spec.micro_batches << " micro-batches, "
                          << (direct ? "direct" : "staged") << (in_step ? ", in step" : "")
                          << ", seed " << seed);
  CHECK(failures == std::vector<std::string>(static_cast<std::size_t>(ranks)));
  CHECK(machine.most_receives_at_once() <= 1);
}

void run_schedules(bool direct, int most_ranks) {
  for (const schedule::CatalogueEntry& entry : schedule::catalogue())
    for (int ranks = 1; ranks <= most_ranks; ++ranks)
      for (const int micro_batches : {1, 4, 9}) {
        const auto schedule =
            schedule::make_schedule(schedule::legal_spec(entry, ranks, micro_batches, 3));
        const auto seed = static_cast<unsigned>(10 * ranks + micro_batches);
        for (const bool in_step : {false, true}) run_schedule(schedule, direct, in_step, seed);
      }
}

}  // namespace

TEST_CASE("every schedule runs over direct channels of devices with queues", "[runtime]") {
  run_schedules(true, 8);
}

TEST_CASE("every schedule runs over staged channels of devices with queues", "[runtime]") {
  run_schedules(false, 4);
}

// The last of three ranks stops at its first backward. Both others say what they lack and of whom,
// wherever they wait: on the host or on the device.
TEST_CASE("a rank that hangs is named with what its neighbours need of it, over every fabric",
          "[runtime]") {
  const auto schedule = schedule::make_schedule(
      {.name = "seq1f1b", .ranks = 3, .chunks = 1, .micro_batches = 6, .segments = 2});
  for (const bool direct : {true, false}) {
    std::vector<std::string> failures;
    const bool named = comm::testing::at_some_deadline([&](double deadline) {
      Machine machine(3);
      std::latch others(2);  // have given up
      auto worlds = comm::make_in_process_worlds(3, comm::testing::with_deadline(deadline));
      failures = comm::testing::run_ranks(worlds, [&](comm::World& world) {
        QueuedDevice device(machine);
        const auto fabric = make_fabric(direct, world, device, machine);
        QueuedRunner runner(schedule, world.rank(), device, *fabric, false);
        if (world.rank() == 2)
          runner.hang = [&](Kind kind) {
            if (kind != Kind::kBackward) return;
            others.wait();
            throw std::runtime_error("hung");
          };
        try {
          Ends ends(*fabric, device, schedule);
          StageLoop loop(
              schedule, world.rank(), ends.of_rank.ports,
              [](schedule::Unit) { return kMessageBytes; }, *fabric, device, nullptr);
          loop.run(runner, 12);
        } catch (...) {
          if (world.rank() < 2) others.count_down();
          throw;
        }
      });
      const auto names = [&](int rank) {
        const std::string& failure = failures[static_cast<std::size_t>(rank)];
        return comm::testing::contains(failure, concat("rank ", rank, " (")) &&
               comm::testing::contains(
                   failure, concat("waited ", deadline, " s for rank ", rank + 1,
                                   " while running the backward of micro-batch 1, segment 2 (step "
                                   "12, schedule seq1f1b), which needs the gradient of pipeline "
                                   "rank ",
                                   rank + 1));
      };
      return names(0) && names(1);
    });
    INFO((direct ? "direct: " : "staged: ") << failures[0] << "; " << failures[1]);
    CHECK(named);
  }
}

}  // namespace seq1f1b::runtime
