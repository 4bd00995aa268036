// Under mpirun -n 2, over TCP, where neither side can pull a message alone: a large message sent
// before a long computation of both ranks must arrive during it.
#include <array>
#include <chrono>
#include <iostream>

#include "tests/core/comm/mpi_job.h"
#include "tests/core/comm/world_bodies.h"

using namespace seq1f1b;
using namespace seq1f1b::comm;

namespace {

using Clock = std::chrono::steady_clock;
constexpr std::size_t kBytes = std::size_t{64} << 20;
constexpr std::chrono::milliseconds kComputation{1500};

// Computes without any call that could move a message; says when `arrived` first held.
Clock::time_point compute(Clock::time_point end, const std::function<bool()>& arrived) {
  Clock::time_point seen = Clock::time_point::max();
  volatile double value = 1.0;
  while (Clock::now() < end) {
    for (int i = 0; i < 100'000; ++i) value = value * 1.0000001 + 1e-9;
    if (seen == Clock::time_point::max() && arrived()) seen = Clock::now();
  }
  return seen;
}

void overlap(World& world) {
  testing::Ring ring(1, kBytes);
  const auto pair = world.make_group(std::array<int, 2>{0, 1});
  if (world.rank() == 0) {
    const auto sender = world.make_sender(1, 0, ring.buffers());
    pair->barrier(testing::nothing_special);
    sender->acquire(testing::nothing_special);
    sender->commit(kBytes);
    compute(Clock::now() + kComputation, [] { return false; });
    pair->barrier(testing::nothing_special);
    return;
  }
  const auto receiver = world.make_receiver(0, 0, ring.buffers());
  pair->barrier(testing::nothing_special);
  receiver->expect(std::array<std::size_t, 1>{kBytes});
  const auto begin = Clock::now();
  const auto end = begin + kComputation;
  const auto seen = compute(end, [&] { return receiver->ready(); });
  const auto before_wait = Clock::now();
  receiver->wait(testing::nothing_special);
  const auto waited = Clock::now() - before_wait;
  const auto milliseconds = [](Clock::duration time) {
    return std::chrono::duration<double, std::milli>(time).count();
  };
  EXPECT(seen < end - std::chrono::milliseconds(100));
  EXPECT(waited < std::chrono::milliseconds(5));
  std::cout << "64 MiB arrived " << milliseconds(seen - begin) << " ms into "
            << milliseconds(kComputation) << " ms of computation, waited " << milliseconds(waited)
            << " ms afterwards" << std::endl;
  receiver->release();
  pair->barrier(testing::nothing_special);
}

}  // namespace

int main() {
  WorldOptions options;
  options.deadline = std::chrono::seconds(60);
  return testing::run_job(options, overlap);
}
