// Our calls of NCCL, through the direct fabric and on the emulated CUDA runtime, against a stand-in
// that keeps NCCL's rules for communicators that do not block.
#include "kernels/cuda/nccl_communicator.h"

#include "core/comm/direct_fabric.h"
#include "kernels/cuda/device.h"
#include "tests/catch.h"
#include "tests/core/comm/rank_threads.h"
#include "tests/core/comm/world_bodies.h"
#include "tests/kernels/cuda/fake_nccl/fake_nccl.h"

namespace seq1f1b::kernels::cuda {
namespace {

using comm::testing::contains;
using testing::nccl_counts;

comm::CommunicatorFactory factory(Device& device) {
  return {.name = "NCCL",
          .make_id =
              [] {
                CommunicatorId id;
                std::string error;
                SEQ1F1B_ASSERT(make_communicator_id(id, error), error);
                return id;
              },
          .make =
              [&device](const CommunicatorOptions& options) {
                std::string error;
                auto communicator = make_communicator(device, options, error);
                SEQ1F1B_ASSERT(communicator, error);
                return communicator;
              }};
}

std::vector<std::string> run_ranks(int size, double deadline,
                                   const std::function<void(comm::testing::Site&)>& body) {
  auto worlds = comm::make_in_process_worlds(size, comm::testing::with_deadline(deadline));
  return comm::testing::run_ranks(worlds, [&](comm::World& world) {
    std::string why;
    CudaDevice device(usable_gpus(why).at(0), true);
    comm::DirectFabric fabric(world, device, factory(device));
    comm::testing::Site site{world, fabric, device};
    body(site);
  });
}

}  // namespace

TEST_CASE("channels and groups over NCCL keep the contract, in queue order") {
  std::vector<comm::testing::Body> bodies = comm::testing::channel_bodies();
  for (comm::testing::Body& body : comm::testing::tensor_group_bodies())
    bodies.push_back(std::move(body));
  for (const comm::testing::Body& body : bodies)
    for (const int size : {2, 3}) {
      const auto failures = run_ranks(size, 30, body.run);
      INFO(body.name << ", " << size << " ranks");
      CHECK(failures == std::vector<std::string>(static_cast<std::size_t>(size)));
    }
  const testing::NcclCounts counts = nccl_counts();
  CHECK(counts.misused == 0);
  CHECK(counts.made == counts.destroyed + counts.aborted);
  // Only where a message was announced and never sent.
  CHECK(counts.aborted <= 4);
}

TEST_CASE("a failure that NCCL notices ends the wait, in its words") {
  const auto failures = run_ranks(2, 30, [](comm::testing::Site& site) {
    const comm::testing::DeviceRing ring(site.device, 2, 64);
    std::unique_ptr<comm::Sender> sender;
    std::unique_ptr<comm::Receiver> receiver;
    if (site.world.rank() == 0) sender = site.fabric.make_sender(1, 0, ring.buffers());
    if (site.world.rank() == 1) receiver = site.fabric.make_receiver(0, 0, ring.buffers());
    site.fabric.connect();
    site.world.make_group(std::vector<int>{0, 1})->barrier(comm::testing::nothing_special);
    if (!receiver) return;
    testing::fail_next_operation();
    receiver->expect(std::vector<std::size_t>{64});
    receiver->wait([] { return std::string("forward of micro-batch 1, segment 0"); });
    const auto event = site.device.make_event();
    site.device.record(*event);
    site.fabric.settle(*event, comm::testing::nothing_special);
  });
  INFO(failures[1]);
  CHECK(contains(failures[1],
                 "NCCL, in the background: remote process exited or there was a network error on "
                 "channel 0 from rank 0 to rank 1 while "));
}

TEST_CASE("a member that does not join is named when the deadline has passed") {
  const auto failures = run_ranks(2, 0.3, [](comm::testing::Site& site) {
    if (site.world.rank() == 1) return;
    std::string error;
    CommunicatorId id;
    REQUIRE(make_communicator_id(id, error));
    const auto alone = make_communicator(site.device, {.id = id, .rank = 0, .size = 2}, error);
    REQUIRE(alone);
    CHECK_FALSE(alone->ready());
    CHECK(alone->failure().empty());
    site.world.wait_until([&] { return alone->ready(); }, [] { return std::string("rank 1"); },
                          [] { return std::string("connecting"); });
  });
  INFO(failures[0]);
  CHECK(contains(failures[0], "waited 0.3 s for rank 1 while connecting"));
}

}  // namespace seq1f1b::kernels::cuda
