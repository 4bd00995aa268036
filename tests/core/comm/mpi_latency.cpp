// Measures, under mpirun -n 4: the round trip of a message between two ranks while the other two
// wait for one, what such a wait costs, and the rate of large messages while both ends compute.
//   . scripts/mpi_env.sh && $SEQ1F1B_MPIRUN -n 4 build/release/comm_latency
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <iomanip>
#include <iostream>
#include <thread>

#include "tests/core/comm/mpi_job.h"
#include "tests/core/comm/world_bodies.h"

using namespace seq1f1b;
using namespace seq1f1b::comm;

namespace {

using Clock = std::chrono::steady_clock;

double microseconds(Clock::duration time) {
  return std::chrono::duration<double, std::micro>(time).count();
}

double cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

void spin(Clock::duration time) {
  const auto end = Clock::now() + time;
  while (Clock::now() < end) {
  }
}

// Both ranks compute for `computation` between the messages.
void round_trips(World& world, std::size_t bytes, Clock::duration computation) {
  constexpr std::size_t kRepeats = 200;
  testing::Ring to_send(1, bytes);
  testing::Ring to_receive(2, bytes);
  const int peer = 3 - world.rank();
  const auto sender = world.make_sender(peer, 0, to_send.buffers());
  const auto receiver = world.make_receiver(peer, 0, to_receive.buffers());
  const std::vector<std::size_t> sizes(kRepeats, bytes);
  receiver->expect(sizes);
  std::vector<double> times;
  const auto receive = [&] {
    receiver->wait(testing::nothing_special);
    receiver->release();
    spin(computation);
  };
  const auto send = [&] {
    sender->acquire(testing::nothing_special);
    sender->commit(bytes);
  };
  for (std::size_t i = 0; i < kRepeats; ++i) {
    const auto begin = Clock::now();
    if (world.rank() == 0) send();
    receive();
    if (world.rank() != 0) send();
    times.push_back(microseconds(Clock::now() - begin - 2 * computation));
  }
  std::sort(times.begin(), times.end());
  if (world.rank() == 0) {
    std::cout << std::setw(9) << bytes << " bytes, " << std::setw(5) << microseconds(computation)
              << " us of computation per message: round trip median " << times[kRepeats / 2]
              << " us, 95 % " << times[kRepeats * 95 / 100] << " us" << std::endl;
  }
}

// Half of the ranks send at full speed; nobody computes.
void rate(World& world) {
  constexpr std::size_t kBytes = std::size_t{16} << 20;
  constexpr std::size_t kMessages = 30;
  testing::Ring ring(2, kBytes);
  if (world.rank() == 0) {
    const auto sender = world.make_sender(3, 1, ring.buffers());
    for (std::size_t i = 0; i < kMessages; ++i) {
      sender->acquire(testing::nothing_special);
      sender->commit(kBytes);
    }
  } else if (world.rank() == 3) {
    const auto receiver = world.make_receiver(0, 1, ring.buffers());
    receiver->expect(std::vector<std::size_t>(kMessages, kBytes));
    const auto begin = Clock::now();
    for (std::size_t i = 0; i < kMessages; ++i) {
      receiver->wait(testing::nothing_special);
      receiver->release();
    }
    std::cout << "16 MiB messages: "
              << 1e-3 * static_cast<double>(kMessages * kBytes) / microseconds(Clock::now() - begin)
              << " GB/s" << std::endl;
  }
}

void measure(World& world) {
  const std::array<int, 4> everybody = {0, 1, 2, 3};
  const auto all = world.make_group(everybody);
  const auto pair = world.make_tensor_group(std::array<int, 2>{1, 2}, TensorGroup::kInFlightBytes);
  all->barrier(testing::nothing_special);
  const double cpu_before = cpu_seconds();
  const auto begin = Clock::now();
  if (world.rank() == 0 || world.rank() == 3) {
    for (const std::size_t bytes :
         {std::size_t{4096}, std::size_t{262'144}, std::size_t{1} << 22}) {
      for (const int computed : {0, 300, 3000}) {
        round_trips(world, bytes, std::chrono::microseconds(computed));
      }
    }
  }
  rate(world);
  all->barrier(testing::nothing_special);
  const double seconds = 1e-6 * microseconds(Clock::now() - begin);
  if (world.rank() == 1) {
    std::cout << "a waiting rank: " << 100 * (cpu_seconds() - cpu_before) / seconds
              << " % of a core over " << seconds << " s" << std::endl;
  }
  if (world.rank() == 1) {
    testing::Ring ring(2, 1000);
    const auto receiver = world.make_receiver(2, 0, ring.buffers());
    receiver->expect(std::array<std::size_t, 1>{1000});
    const double before = cpu_seconds();
    std::this_thread::sleep_for(std::chrono::seconds(3));
    std::cout << "a rank with a receive posted, not waiting: " << 100 * (cpu_seconds() - before) / 3
              << " % of a core" << std::endl;
  }
  all->barrier(testing::nothing_special);
  constexpr std::size_t kValues = std::size_t{10} << 20;
  std::vector<float> values(kValues, 1.0F);
  for (int repeat = 0; repeat < 2 && pair != nullptr; ++repeat) {
    const auto start = Clock::now();
    pair->all_reduce_sum(
        kernels::Tensor(values.data(), kernels::Dtype::kF32, {std::int64_t{kValues}}),
        testing::nothing_special);
    if (world.rank() == 1) {
      std::cout << "sum of 40 MiB between two ranks: " << 1e-3 * microseconds(Clock::now() - start)
                << " ms" << std::endl;
    }
  }
}

}  // namespace

int main() {
  WorldOptions options;
  options.deadline = std::chrono::seconds(120);
  return testing::run_job(options, measure);
}
