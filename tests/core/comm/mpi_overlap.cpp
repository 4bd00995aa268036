// Under mpirun -n 2, over TCP, where neither side can pull a message alone: a large message must
// arrive while both ranks compute, which they do until it has, or for ever.
#include <unistd.h>

#include <array>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iostream>

#include "tests/core/comm/mpi_job.h"
#include "tests/core/comm/world_bodies.h"

using namespace seq1f1b;
using namespace seq1f1b::comm;

namespace {

using Clock = std::chrono::steady_clock;
constexpr std::size_t kBytes = std::size_t{64} << 20;
// A defect ends there.
constexpr std::chrono::seconds kLongest{60};

// How the receiver tells the sender, in which no message takes part: a file named after the process
// that started both.
std::string arrival_file() {
  return std::filesystem::temp_directory_path() / concat("seq1f1b_arrived_", getppid());
}

// Computes without any call that could move a message; whether `arrived` has come true.
bool compute_until(const std::function<bool()>& arrived) {
  const auto end = Clock::now() + kLongest;
  volatile double value = 1.0;
  while (Clock::now() < end) {
    for (int i = 0; i < 100'000; ++i) value = value * 1.0000001 + 1e-9;
    if (arrived()) return true;
  }
  return false;
}

void overlap(World& world) {
  testing::Ring ring(1, kBytes);
  const std::string file = arrival_file();
  const auto pair = world.make_group(std::array<int, 2>{0, 1});
  if (world.rank() == 0) {
    std::filesystem::remove(file);
    const auto sender = world.make_sender(1, 0, ring.buffers());
    pair->barrier(testing::nothing_special);
    sender->acquire(testing::nothing_special);
    sender->commit(kBytes);
    EXPECT(compute_until([&] { return std::filesystem::exists(file); }));
    pair->barrier(testing::nothing_special);
    std::filesystem::remove(file);
    return;
  }
  const auto receiver = world.make_receiver(0, 0, ring.buffers());
  pair->barrier(testing::nothing_special);
  receiver->expect(std::array<std::size_t, 1>{kBytes});
  const auto begin = Clock::now();
  EXPECT(compute_until([&] { return receiver->ready(); }));
  const std::chrono::duration<double, std::milli> taken = Clock::now() - begin;
  std::ofstream(file) << "arrived";
  receiver->wait(testing::nothing_special);
  std::cout << "64 MiB arrived in " << taken.count() << " ms of computation" << std::endl;
  receiver->release();
  pair->barrier(testing::nothing_special);
}

}  // namespace

int main() {
  WorldOptions options;
  options.deadline = 2 * kLongest;
  return testing::run_job(options, overlap);
}
