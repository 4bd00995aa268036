#include <array>
#include <atomic>
#include <chrono>
#include <functional>
#include <future>
#include <thread>

#include "core/comm/mesh.h"
#include "core/comm/world.h"
#include "kernels/common/errors.h"
#include "kernels/common/host_device.h"
#include "tests/catch.h"
#include "tests/core/comm/rank_threads.h"
#include "tests/core/comm/world_bodies.h"

using namespace seq1f1b;
using namespace seq1f1b::comm;
using testing::contains;
using testing::run_ranks;
using testing::with_deadline;

TEST_CASE("worlds of threads keep the contract of channels and groups") {
  std::vector<testing::Body> bodies = testing::channel_bodies();
  for (testing::Body& body : testing::tensor_group_bodies()) bodies.push_back(std::move(body));
  for (testing::Body& body : testing::group_bodies()) bodies.push_back(std::move(body));
  for (const testing::Body& body : bodies) {
    for (const int size : {2, 5}) {
      auto worlds = make_in_process_worlds(size, with_deadline(60));
      const std::vector<std::string> failures = run_ranks(worlds, [&](World& world) {
        kernels::HostDevice device("host");
        const auto fabric = connect_devices(world, device);
        testing::Site site{world, *fabric, device};
        body.run(site);
      });
      INFO(body.name << ", " << size << " ranks");
      CHECK(failures == std::vector<std::string>(static_cast<std::size_t>(size)));
    }
  }
}

TEST_CASE("an expired deadline names rank, peer and action") {
  WorldOptions options = with_deadline(0.1);
  std::mutex mutex;
  std::vector<std::string> reported;
  options.on_deadline = [&](const std::string& message) {
    const std::lock_guard lock(mutex);
    reported.push_back(message);
  };
  auto worlds = make_in_process_worlds(3, options);
  const auto failures = run_ranks(worlds, [](World& world) {
    if (world.rank() != 2) return;
    testing::Ring ring(1, 8);
    const auto receiver = world.make_receiver(1, 0, ring.buffers());
    receiver->expect(std::array<std::size_t, 1>{8});
    receiver->wait([] { return std::string("forward of micro-batch 3, segment 1 (step 12)"); });
  });
  INFO(failures[2]);
  CHECK(contains(failures[2], "rank 2 ("));
  CHECK(contains(failures[2], "waited 0.1 s for rank 1 while forward of micro-batch 3, segment 1"));
  CHECK(reported == std::vector<std::string>{failures[2]});
}

TEST_CASE("a group's expired deadline names those who did not come") {
  std::vector<std::string> failures;
  const bool named = testing::at_some_deadline([&](double deadline) {
    auto worlds = make_in_process_worlds(4, with_deadline(deadline));
    failures = run_ranks(worlds, [](World& world) {
      const auto group = world.make_group(std::vector<int>{0, 1, 2, 3});
      if (world.rank() == 1 || world.rank() == 3) return;
      try {
        std::vector<double> values(10);
        group->all_reduce_sum(values, [] { return std::string("norm of step 4"); });
      } catch (const DeadlineError&) {
        group->barrier(testing::nothing_special);  // fails at once, in the same words
      }
    });
    return contains(failures[0], "for ranks 1, 3 while norm of step 4") &&
           contains(failures[2], "for ranks 1, 3 while norm of step 4");
  });
  INFO(failures[0] << "; " << failures[2]);
  CHECK(named);
}

TEST_CASE("a tensor group's expired deadline names those who did not come") {
  std::vector<std::string> failures;
  const bool named = testing::at_some_deadline([&](double deadline) {
    auto worlds = make_in_process_worlds(4, with_deadline(deadline));
    failures = run_ranks(worlds, [](World& world) {
      std::vector<float> values(16);
      const kernels::Tensor tensor(values.data(), kernels::Dtype::kF32, {16});
      const auto group =
          world.make_tensor_group(std::vector<int>{0, 1, 2, 3}, TensorGroup::kInFlightBytes);
      if (world.rank() == 1 || world.rank() == 3) return;
      const auto bucket = [] { return std::string("reducing bucket 3 of step 4"); };
      const auto sum = group->start_reduce_scatter_sum(tensor, bucket);
      try {
        group->wait(sum, bucket);
      } catch (const DeadlineError&) {
        group->start_all_gather(tensor, bucket);
        group->wait(sum, testing::nothing_special);  // fails at once, in the same words
      }
    });
    return contains(failures[0], "for ranks 1, 3 while reducing bucket 3 of step 4") &&
           contains(failures[2], "for ranks 1, 3 while reducing bucket 3 of step 4");
  });
  INFO(failures[0] << "; " << failures[2]);
  CHECK(named);
}

// However long its rank computes meanwhile.
TEST_CASE("a collective that nobody waits for has no deadline") {
  std::vector<std::string> failures;
  const bool patient = testing::at_some_deadline([&](double deadline) {
    auto worlds = make_in_process_worlds(2, with_deadline(deadline));
    std::promise<void> late;
    failures = run_ranks(worlds, [&](World& world) {
      std::vector<float> values(2);
      const kernels::Tensor tensor(values.data(), kernels::Dtype::kF32, {2});
      const auto group =
          world.make_tensor_group(std::vector<int>{0, 1}, TensorGroup::kInFlightBytes);
      if (world.rank() == 1)
        std::this_thread::sleep_for(std::chrono::duration<double>(3 * deadline));
      const auto sum = group->start_all_reduce_sum(tensor, testing::nothing_special);
      if (world.rank() == 1) late.set_value();
      if (world.rank() == 0) late.get_future().wait();
      group->wait(sum, testing::nothing_special);
    });
    return failures == std::vector<std::string>(2);
  });
  INFO(failures[0] << "; " << failures[1]);
  CHECK(patient);
}

// Its messages are taken back before its memory goes, so a member that comes later finds nothing.
TEST_CASE("a collective that an exception ended counts as not started") {
  std::vector<std::string> failures;
  const bool named = testing::at_some_deadline([&](double deadline) {
    auto worlds = make_in_process_worlds(2, with_deadline(deadline));
    std::promise<void> thrown;
    failures = run_ranks(worlds, [&](World& world) {
      std::vector<float> values(2);
      const kernels::Tensor tensor(values.data(), kernels::Dtype::kF32, {2});
      const auto bucket = [] { return std::string("reducing bucket 3 of step 4"); };
      try {
        const auto group =
            world.make_tensor_group(std::vector<int>{0, 1}, TensorGroup::kInFlightBytes);
        if (world.rank() == 1) thrown.get_future().wait();
        const auto sum = group->start_all_reduce_sum(tensor, bucket);
        // Its messages are on the way by then, or else the test shows nothing this time.
        if (world.rank() == 0) std::this_thread::sleep_for(std::chrono::milliseconds(50));
        if (world.rank() == 0) throw DataError("a damaged file");
        group->wait(sum, bucket);
      } catch (const DataError&) {
        thrown.set_value();
      }
    });
    return failures[0].empty() &&
           contains(failures[1], "s for rank 0 while reducing bucket 3 of step 4");
  });
  INFO(failures[0] << "; " << failures[1]);
  CHECK(named);
}

TEST_CASE("members that disagree on the size of a collective are told so") {
  auto worlds = make_in_process_worlds(2, with_deadline(60));
  const auto failures = run_ranks(worlds, [](World& world) {
    std::vector<float> values(4);
    const kernels::Tensor tensor(values.data(), kernels::Dtype::kF32, {2 + 2 * world.rank()});
    const auto group = world.make_tensor_group(std::vector<int>{0, 1}, TensorGroup::kInFlightBytes);
    group->wait(group->start_all_reduce_sum(tensor, testing::nothing_special),
                testing::nothing_special);
  });
  for (const std::string& failure : failures) {
    INFO(failure);
    CHECK(contains(failure, "bytes where "));
  }
}

TEST_CASE("groups are of different ranks of the world") {
  auto worlds = make_in_process_worlds(2);
  for (const std::vector<int>& members : {std::vector{0, 0}, {0, 2}, {-1, 0}})
    CHECK_THROWS_AS(worlds[0]->make_group(members), InternalError);
}

TEST_CASE("groups of the same ranks do not take each other's messages") {
  auto worlds = make_in_process_worlds(2, with_deadline(0.1));
  const auto failures = run_ranks(worlds, [](World& world) {
    const std::vector<int> members{0, 1};
    const auto first = world.make_group(members), second = world.make_group(members);
    (world.rank() == 0 ? first : second)->all_gather("mine", testing::nothing_special);
  });
  for (const std::string& failure : failures) CHECK(contains(failure, "waited 0.1 s for rank"));
}

TEST_CASE("a rank that aborts wakes all others") {
  auto worlds = make_in_process_worlds(3, with_deadline(60));
  std::atomic<int> deadline_errors = 0;
  const auto failures = run_ranks(worlds, [&](World& world) {
    if (world.rank() == 1) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      world.abort(kExitData);
    }
    testing::Ring ring(1, 8);
    const auto receiver = world.make_receiver(1, 0, ring.buffers());
    receiver->expect(std::array<std::size_t, 1>{8});
    try {
      receiver->wait([] { return std::string("reading the plan"); });
    } catch (const DeadlineError&) {
      ++deadline_errors;
      throw;
    }
  });
  CHECK(deadline_errors == 2);
  CHECK(contains(failures[1], "rank 1 aborted the job with exit code 3"));
  CHECK(contains(failures[0], "rank 0 ("));
  CHECK(contains(failures[0], "rank 1 aborted the job with exit code 3 while reading the plan"));
}

TEST_CASE("ranks that disagree on a message's size are told so") {
  auto worlds = make_in_process_worlds(2, with_deadline(60));
  const auto failures = run_ranks(worlds, [](World& world) {
    testing::Ring ring(1, 8);
    if (world.rank() == 0) {
      const auto sender = world.make_sender(1, 0, ring.buffers());
      sender->acquire(testing::nothing_special);
      sender->commit(4);
    } else {
      const auto receiver = world.make_receiver(0, 0, ring.buffers());
      receiver->expect(std::array<std::size_t, 1>{8});
      receiver->wait(testing::nothing_special);
    }
  });
  CHECK(failures[0].empty());
  CHECK(contains(failures[1], "rank 0 sent 4 bytes where 8 were expected"));
}

TEST_CASE("a world of threads ends together") {
  auto worlds = make_in_process_worlds(4, with_deadline(60));
  std::atomic<int> present = 0;
  const auto failures = run_ranks(worlds, [&](World& world) {
    ++present;
    world.finalize();
    if (present != 4) throw std::runtime_error("left before all had come");
  });
  CHECK(failures == std::vector<std::string>(4));
}

TEST_CASE("mesh coordinates and ranks are inverse, tp fastest") {
  const Mesh mesh{.tp = 2, .cp = 3, .pp = 4, .dp = 5};
  REQUIRE(mesh.size() == 120);
  for (int rank = 0; rank < mesh.size(); ++rank) {
    CHECK(mesh.rank_of(mesh.coordinate_of(rank)) == rank);
  }
  const Mesh::Coordinate second = mesh.coordinate_of(1);
  CHECK((second.tp == 1 && second.cp == 0 && second.pp == 0 && second.dp == 0));
  CHECK(mesh.coordinate_of(6).pp == 1);
  CHECK_THROWS_AS(mesh.coordinate_of(120), InternalError);
}
