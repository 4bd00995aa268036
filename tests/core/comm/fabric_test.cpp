// Device memory between ranks, over every fabric there is without a GPU.
#include <array>
#include <cstdlib>
#include <future>
#include <mutex>
#include <set>

#include "core/comm/direct_fabric.h"
#include "kernels/cuda/module.h"
#include "tests/catch.h"
#include "tests/core/comm/queued_device.h"
#include "tests/core/comm/rank_threads.h"
#include "tests/core/comm/world_bodies.h"

using namespace seq1f1b;
using namespace seq1f1b::comm;
using testing::contains;
using testing::Machine;
using testing::QueuedDevice;
using testing::run_ranks;
using testing::with_deadline;

namespace {

using MakeFabric =
    std::function<std::unique_ptr<Fabric>(World&, kernels::Device&, Machine& machine)>;

std::unique_ptr<Fabric> staged(World& world, kernels::Device& device, Machine&) {
  return make_staged_fabric(world, device);
}
std::unique_ptr<Fabric> direct(World& world, kernels::Device& device, Machine& machine) {
  return std::make_unique<DirectFabric>(world, device, machine.factory(world.rank()));
}

void run_bodies(const MakeFabric& make_fabric, unsigned seeds, bool in_member_order) {
  std::vector<testing::Body> bodies = testing::channel_bodies();
  for (testing::Body& body : testing::tensor_group_bodies()) bodies.push_back(std::move(body));
  for (const testing::Body& body : bodies)
    for (const int size : {2, 5})
      for (unsigned seed = 0; seed < seeds; ++seed) {
        Machine machine(seed);
        auto worlds = make_in_process_worlds(size, with_deadline(30));
        const auto failures = run_ranks(worlds, [&](World& world) {
          QueuedDevice device(machine);
          const auto fabric = make_fabric(world, device, machine);
          testing::Site site{world, *fabric, device, in_member_order};
          body.run(site);
        });
        INFO(body.name << ", " << size << " ranks, seed " << seed);
        CHECK(failures == std::vector<std::string>(static_cast<std::size_t>(size)));
        CHECK(machine.most_receives_at_once() <= 1);
      }
}

// A channel from rank 1 to rank 0 over which nothing ever comes. Rank 0 says when its device waits.
void wait_in_vain(
    World& world, QueuedDevice& device, Fabric& fabric,
    const std::function<void()>& waits = [] {}) {
  const testing::DeviceRing ring(device, 2, 64);
  const auto event = device.make_event();
  if (world.rank() == 1) {
    const auto sender = fabric.make_sender(0, 0, ring.buffers());
    fabric.connect();
    // Stays until the others have given up, as a rank that hangs does.
    world.make_group(std::vector<int>{1, 0})->barrier(testing::nothing_special);
  } else {
    const auto receiver = fabric.make_receiver(1, 0, ring.buffers());
    fabric.connect();
    receiver->expect(std::array<std::size_t, 2>{64, 64});
    receiver->wait([] { return std::string("forward of micro-batch 3, segment 1 (step 12)"); });
    waits();
    device.record(*event);
    fabric.wait_for(*event, [] { return std::string("finishing the pass of step 12"); });
  }
}

// Does something at the end of a block, however it is left.
struct AtEnd {
  explicit AtEnd(std::function<void()> what) : what(std::move(what)) {}
  AtEnd(const AtEnd&) = delete;
  AtEnd& operator=(const AtEnd&) = delete;
  ~AtEnd() { what(); }
  const std::function<void()> what;
};

}  // namespace

TEST_CASE("staged channels and groups keep the contract, in queue order") {
  run_bodies(staged, 2, true);
}

TEST_CASE("direct channels and groups keep the contract, in queue order") {
  run_bodies(direct, 4, false);
}

TEST_CASE("a direct fabric tells which message of whom the device waits for") {
  std::vector<std::string> failures;
  const bool told = testing::at_some_deadline([&](double deadline) {
    Machine machine(1);
    auto worlds = make_in_process_worlds(2, with_deadline(deadline));
    failures = run_ranks(worlds, [&](World& world) {
      QueuedDevice device(machine);
      const auto fabric = direct(world, device, machine);
      wait_in_vain(world, device, *fabric);
    });
    return contains(failures[0], "rank 0 (") && machine.aborted() >= 1 &&
           contains(failures[0], concat("waited ", deadline,
                                        " s for rank 1 while forward of micro-batch 3, segment 1"));
  });
  INFO(failures[0]);
  CHECK(told);
}

TEST_CASE("a member that starts no collective is named, over every fabric") {
  for (const bool is_direct : {false, true}) {
    std::vector<std::string> failures;
    const bool told = testing::at_some_deadline([&](double deadline) {
      Machine machine(1);
      auto worlds = make_in_process_worlds(2, with_deadline(deadline));
      failures = run_ranks(worlds, [&](World& world) {
        QueuedDevice device(machine);
        const testing::DeviceRing memory(device, 1, 64);
        const auto fabric = (is_direct ? direct : staged)(world, device, machine);
        const auto group = fabric->make_group(std::vector<int>{0, 1});
        fabric->connect();
        if (world.rank() == 1) {
          // Stays until the other has given up, as a rank that hangs does.
          return world.make_group(std::vector<int>{1, 0})->barrier(testing::nothing_special);
        }
        const auto bucket = [] { return std::string("reducing bucket 3 of step 4"); };
        const kernels::Tensor values(memory.buffers()[0].data(), kernels::Dtype::kF32, {1});
        group->wait(group->start_all_reduce_sum(values, bucket), bucket);
        const auto event = device.make_event();
        device.record(*event);
        fabric->wait_for(*event, [] { return std::string("finishing the pass of step 4"); });
      });
      return contains(failures[0], concat("waited ", deadline, " s for rank")) &&
             contains(failures[0], "1 while reducing bucket 3 of step 4");
    });
    INFO((is_direct ? "direct: " : "staged: ") << failures[0]);
    CHECK(told);
  }
}

TEST_CASE("a direct fabric reports a communicator's failure at once, and aborts all") {
  Machine machine(1);
  std::promise<void> waiting;
  auto worlds = make_in_process_worlds(2, with_deadline(30));
  const auto failures = run_ranks(worlds, [&](World& world) {
    QueuedDevice device(machine);
    const auto fabric = direct(world, device, machine);
    if (world.rank() == 1) {
      const testing::DeviceRing ring(device, 2, 64);
      const auto sender = fabric->make_sender(0, 0, ring.buffers());
      fabric->connect();
      waiting.get_future().wait_for(std::chrono::minutes(1));
      machine.break_communicators(0, "unhandled system error");
      return;
    }
    wait_in_vain(world, device, *fabric, [&] { waiting.set_value(); });
  });
  INFO(failures[0]);
  CHECK(failures[1].empty());
  CHECK(contains(failures[0], "rank 0 ("));
  CHECK(contains(failures[0],
                 "unhandled system error on channel 0 from rank 1 to rank 0 while "
                 "forward of micro-batch 3, segment 1 (step 12)"));
}

TEST_CASE("a rank that does not come to connect is named") {
  Machine machine(1);
  auto worlds = make_in_process_worlds(2, with_deadline(0.2));
  const auto failures = run_ranks(worlds, [&](World& world) {
    QueuedDevice device(machine);
    const auto fabric = direct(world, device, machine);
    if (world.rank() == 1) return;
    const auto group = fabric->make_group(std::vector<int>{0, 1});
    fabric->connect();
  });
  INFO(failures[0]);
  CHECK(contains(failures[0],
                 "waited 0.2 s for rank 1 while comparing what the ranks have to connect"));
}

TEST_CASE("members that do not find each other come with a hint") {
  std::vector<std::string> failures;
  const bool hinted = testing::at_some_deadline([&](double deadline) {
    Machine machine(1);
    std::promise<void> over;  // for rank 0
    auto worlds = make_in_process_worlds(2, with_deadline(deadline));
    failures = run_ranks(worlds, [&](World& world) {
      QueuedDevice device(machine);
      CommunicatorFactory factory = machine.factory(world.rank());
      if (world.rank() == 1)  // is about to make its end when the other one's deadline expires
        factory.make = [&, make = factory.make](const kernels::CommunicatorOptions& options) {
          over.get_future().wait();
          return make(options);
        };
      const AtEnd told([&] {
        if (world.rank() == 0) over.set_value();
      });
      DirectFabric fabric(world, device, std::move(factory));
      const auto group = fabric.make_group(std::vector<int>{0, 1});
      fabric.connect();
    });
    return contains(failures[0], concat("waited ", deadline,
                                        " s for rank 1 while connecting the group of ranks 0, 1; "
                                        "look at the cables"));
  });
  INFO(failures[0]);
  CHECK(hinted);
}

// Such as one that looks for its network in a driver that does not answer.
TEST_CASE("a library that does not start ends the job with the deadline") {
  for (const bool by_id : {true, false}) {
    std::string message;
    const bool ended = testing::at_some_deadline([&](double deadline) {
      Machine machine(1);
      std::promise<std::string> first;  // of rank 0
      std::shared_future<std::string> said = first.get_future();
      std::once_flag once;
      WorldOptions options = with_deadline(deadline);
      options.on_deadline = [&](const std::string& text) {
        if (text.starts_with("rank 0 ")) std::call_once(once, [&] { first.set_value(text); });
      };
      auto worlds = make_in_process_worlds(2, options);
      run_ranks(worlds, [&](World& world) {
        QueuedDevice device(machine);
        CommunicatorFactory factory = machine.factory(world.rank());
        const auto hang = [said] { said.wait_for(std::chrono::minutes(1)); };
        if (world.rank() == 0 && by_id)
          factory.make_id = [hang, make_id = factory.make_id] { return hang(), make_id(); };
        if (world.rank() == 0 && !by_id)
          factory.make = [hang, make = factory.make](const kernels::CommunicatorOptions& one) {
            return hang(), make(one);
          };
        DirectFabric fabric(world, device, std::move(factory));
        const auto group = fabric.make_group(std::vector<int>{0, 1});
        fabric.connect();
      });
      if (said.wait_for(std::chrono::seconds(0)) != std::future_status::ready) return false;
      message = said.get();
      return contains(message, concat("made no progress for ", deadline, " s while starting "));
    });
    INFO(message);
    CHECK(ended);
  }
}

TEST_CASE("a channel with one end only is refused by all ranks") {
  Machine machine(1);
  auto worlds = make_in_process_worlds(3, with_deadline(30));
  const auto failures = run_ranks(worlds, [&](World& world) {
    QueuedDevice device(machine);
    const auto fabric = direct(world, device, machine);
    const testing::DeviceRing ring(device, 1, 64);
    std::unique_ptr<Sender> sender;
    if (world.rank() == 0) sender = fabric->make_sender(2, 7, ring.buffers());
    fabric->connect();
  });
  for (const std::string& failure : failures) {
    INFO(failure);
    CHECK(contains(failure, "channel 7 from rank 0 to rank 2 was made by rank 0 alone"));
  }
}

TEST_CASE("announcements are merged in one order, with the keys of the first members") {
  const auto key = [](int first_byte) {
    kernels::CommunicatorId id{};
    id.front() = static_cast<decltype(id)::value_type>(first_byte);
    return id;
  };
  // A key that is not the first member's is of no account.
  const auto announced_by = [&](int rank) {
    std::vector<Connection> mine;
    mine.push_back({.members = {0, 1}, .id = 1, .is_group = true, .key = key(10 + rank)});
    mine.push_back({.members = {1, 0}, .id = 0, .is_group = true, .key = key(20 + rank)});
    mine.push_back({.members = {1, 0}, .id = 2, .key = key(30 + rank)});
    mine.push_back({.members = {0, 1}, .id = 3, .key = key(40 + rank)});
    return announce(mine);
  };
  std::vector<std::string> names;
  std::vector<kernels::CommunicatorId> keys;
  for (const Connection& connection : merge({announced_by(0), announced_by(1)})) {
    names.push_back(concat(connection.is_group ? "group " : "channel ", connection.id));
    keys.push_back(connection.key);
  }
  CHECK(names == std::vector<std::string>{"channel 3", "channel 2", "group 0", "group 1"});
  CHECK(keys == std::vector{key(40), key(31), key(21), key(10)});
}

TEST_CASE("connections are made in few rounds, none with a rank twice") {
  for (const int ranks : {2, 3, 4, 9, 64}) {
    std::vector<Connection> connections;
    for (int rank = 0; rank + 1 < ranks; ++rank) {
      connections.push_back({.members = {rank, rank + 1}, .id = 2 * rank});
      connections.push_back({.members = {rank + 1, rank}, .id = 2 * rank + 3});
    }
    connections.push_back({.members = {0, ranks - 1}, .id = 0, .is_group = true});
    std::ranges::sort(connections);
    const std::vector<int> rounds = plan_rounds(connections);
    std::set<std::pair<int, int>> busy;
    for (std::size_t i = 0; i < connections.size(); ++i)
      for (const int member : connections[i].members) CHECK(busy.emplace(rounds[i], member).second);
    INFO(ranks << " ranks");
    // Four connections with its two neighbours, and one more at the ends.
    CHECK(*std::ranges::max_element(rounds) < 5);
  }
}

TEST_CASE("the fabric is chosen by what the ranks compute on") {
  kernels::cuda::Module module{};
  module.identity = [](const kernels::Device& device) {
    return kernels::cuda::DeviceIdentity{device.description()};
  };
  class Gpu final : public QueuedDevice {
   public:
    Gpu(Machine& machine, std::string bus) : QueuedDevice(machine), bus_(std::move(bus)) {}
    std::string description() const override { return bus_; }

   private:
    std::string bus_;
  };
  const auto descriptions = [&](const std::vector<std::string>& buses, bool with_module) {
    Machine machine(1);
    auto worlds = make_in_process_worlds(static_cast<int>(buses.size()), with_deadline(30));
    std::vector<std::string> chosen(buses.size());
    run_ranks(worlds, [&](World& world) {
      const auto rank = static_cast<std::size_t>(world.rank());
      Gpu device(machine, buses[rank]);
      chosen[rank] = connect_devices(world, device, with_module ? &module : nullptr)->description();
    });
    return std::set<std::string>(chosen.begin(), chosen.end());
  };
  CHECK(descriptions({"0:1", "0:2", "0:3"}, true) == std::set<std::string>{"NCCL"});
  CHECK(descriptions({"0:1", "0:2", "0:1"}, true) ==
        std::set<std::string>{
            "threads of one process, staged through host memory (ranks share a GPU)"});
  // A launch that blocks, of a receive, would keep the host from issuing what its peer waits for.
  setenv("CUDA_LAUNCH_BLOCKING", "1", 1);
  CHECK(descriptions({"0:1", "0:2"}, true) ==
        std::set<std::string>{
            "threads of one process, staged through host memory (CUDA_LAUNCH_BLOCKING is set)"});
  setenv("CUDA_LAUNCH_BLOCKING", "0", 1);
  CHECK(descriptions({"0:1", "0:2"}, true) == std::set<std::string>{"NCCL"});
  unsetenv("CUDA_LAUNCH_BLOCKING");
  Machine machine(1);
  auto worlds = make_in_process_worlds(3, with_deadline(30));
  const auto failures = run_ranks(worlds, [&](World& world) {
    const std::vector<std::string> buses{"0:1", "0:2", "0:1"};
    const Gpu device(machine, buses[static_cast<std::size_t>(world.rank())]);
    EXPECT(sharing_ranks(world, device, module) == std::vector<int>({2, 1, 2}));
  });
  CHECK(failures == std::vector<std::string>(3));
  CHECK(descriptions({"0:1", "0:2"}, false) ==
        std::set<std::string>{"threads of one process, staged through host memory"});
}
