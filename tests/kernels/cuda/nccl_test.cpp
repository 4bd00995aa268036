// Our calls of NCCL, through the direct fabric and on the emulated CUDA runtime, against a stand-in
// that keeps NCCL's rules for communicators that do not block.
#include "kernels/cuda/nccl_communicator.h"

#include "core/comm/direct_fabric.h"
#include "kernels/cuda/device.h"
#include "kernels/simt/runtime.h"
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
          .hint = "",
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
    comm::testing::Site site{world, fabric, device, false};
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
  // Only where a message was announced and never sent, and where groups went with an exception.
  CHECK(counts.aborted <= 4 + 5);
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
    site.fabric.wait_for(*event, comm::testing::nothing_special);
  });
  INFO(failures[1]);
  CHECK(contains(failures[1],
                 "NCCL, in the background: remote process exited or there was a network error on "
                 "channel 0 from rank 0 to rank 1 while "));
}

TEST_CASE("an operation that NCCL never enqueues ends the wait with the deadline") {
  for (const bool sends : {true, false}) {
    std::vector<std::string> failures;
    const auto failure = [&]() -> const std::string& { return failures[sends ? 0 : 1]; };
    const bool ended = comm::testing::at_some_deadline([&](double deadline) {
      failures = run_ranks(2, deadline, [&](comm::testing::Site& site) {
        const comm::testing::DeviceRing ring(site.device, 1, 64);
        const bool stalls = (site.world.rank() == 0) == sends;
        std::unique_ptr<comm::Sender> sender;
        std::unique_ptr<comm::Receiver> receiver;
        if (site.world.rank() == 0) sender = site.fabric.make_sender(1, 0, ring.buffers());
        if (site.world.rank() == 1) receiver = site.fabric.make_receiver(0, 0, ring.buffers());
        site.fabric.connect();
        site.world.make_group(std::vector<int>{0, 1})->barrier(comm::testing::nothing_special);
        if (!stalls) return;
        testing::stall_next_operation();
        if (receiver) return receiver->expect(std::vector<std::size_t>{64});
        sender->acquire(comm::testing::nothing_special);
        sender->commit(64);
      });
      return contains(
          failure(),
          sends ? concat("waited ", deadline,
                         " s for rank 1 while handing over message 0 of channel 0 from rank 0 to "
                         "rank 1")
                : concat("waited ", deadline,
                         " s for rank 0 while asking for message 0 of channel 0 from rank 0 to "
                         "rank 1"));
    });
    INFO(failure());
    CHECK(ended);
  }
  CHECK(nccl_counts().misused == 0);
}

// An abort waits for its communicator's work. Here the send stands behind the action that reads the
// message, and that behind a receive of another communicator, which only the latter's abort ends.
TEST_CASE("aborting one communicator does not wait for work that another one holds up") {
  std::vector<std::string> failures;
  const bool ended = comm::testing::at_some_deadline([&](double deadline) {
    failures = run_ranks(2, deadline, [](comm::testing::Site& site) {
      const comm::testing::DeviceRing in(site.device, 1, 64), out(site.device, 1, 64);
      const int rank = site.world.rank(), peer = 1 - rank;
      // Connections are aborted in the order of their members: rank 0's send comes first.
      const auto sender = site.fabric.make_sender(peer, 0, out.buffers());
      const auto receiver = site.fabric.make_receiver(peer, 0, in.buffers());
      site.fabric.connect();
      const auto both = site.world.make_group(std::vector<int>{0, 1});
      both->barrier(comm::testing::nothing_special);
      if (rank == 1) return both->barrier(comm::testing::nothing_special);  // in vain
      receiver->expect(std::vector<std::size_t>{64});
      receiver->wait([] { return std::string("backward of micro-batch 1, segment 0"); });
      sender->acquire(comm::testing::nothing_special);
      sender->commit(64);
      comm::testing::wait_for(site);
    });
    return contains(failures[0], concat("waited ", deadline,
                                        " s for rank 1 while backward of micro-batch 1, segment "
                                        "0"));
  });
  INFO(failures[0]);
  CHECK(ended);
  CHECK(nccl_counts().hung == 0);
  CHECK(nccl_counts().misused == 0);
}

// What a kernel leaves behind that fails in the warm-up: every call of CUDA fails, also in
// the destructors that run while its error is on its way to whoever prints it.
TEST_CASE("the error of a device that has failed is not lost on the way out") {
  const auto failures = run_ranks(2, 30, [](comm::testing::Site& site) {
    const comm::testing::DeviceRing ring(site.device, 2, 64);
    std::unique_ptr<comm::Sender> sender;
    std::unique_ptr<comm::Receiver> receiver;
    if (site.world.rank() == 0) sender = site.fabric.make_sender(1, 0, ring.buffers());
    if (site.world.rank() == 1) receiver = site.fabric.make_receiver(0, 0, ring.buffers());
    site.fabric.connect();
    const auto both = site.world.make_group(std::vector<int>{0, 1});
    both->barrier(comm::testing::nothing_special);
    if (receiver) {
      const std::scoped_lock lock(simt::Runtime::get().mutex);
      simt::Runtime::get().fault("an illegal memory access was encountered");
    }
    both->barrier(comm::testing::nothing_special);
    site.device.synchronize();
  });
  for (const std::string& failure : failures) {
    INFO(failure);
    CHECK(contains(failure, "waiting for the GPU: an illegal memory access was encountered"));
  }
  cudaDeviceReset();
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
