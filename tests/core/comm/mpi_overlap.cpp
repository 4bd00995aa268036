// Under mpirun -n 2, over TCP, where neither side can pull a message alone: a large message, and a
// large sum, must arrive while both ranks compute, which they do until it has, or for ever.
#include <unistd.h>

#include <algorithm>
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

// Looks at memory that somebody else writes: no call of ours may help what is to arrive.
template <class T>
T seen(const T* place) {
  return *static_cast<const volatile T*>(place);
}

void a_message(World& world, Group& pair) {
  testing::Ring ring(1, kBytes);
  const std::string file = arrival_file();
  std::byte* const memory = ring.buffers().front().data();
  std::byte* const last = memory + kBytes - 1;
  *last = std::byte{static_cast<unsigned char>(world.rank() == 0 ? 7 : 0)};
  if (world.rank() == 0) {
    std::filesystem::remove(file);
    const auto sender = world.make_sender(1, 0, ring.buffers());
    pair.barrier(testing::nothing_special);
    sender->acquire(testing::nothing_special);
    sender->commit(kBytes);
    EXPECT(compute_until([&] { return std::filesystem::exists(file); }));
    pair.barrier(testing::nothing_special);
    std::filesystem::remove(file);
    return;
  }
  const auto receiver = world.make_receiver(0, 0, ring.buffers());
  pair.barrier(testing::nothing_special);
  receiver->expect(std::array<std::size_t, 1>{kBytes});
  const auto begin = Clock::now();
  EXPECT(compute_until([&] { return seen(last) == std::byte{7}; }));
  const std::chrono::duration<double, std::milli> taken = Clock::now() - begin;
  std::ofstream(file) << "arrived";
  receiver->wait(testing::nothing_special);
  std::cout << "64 MiB arrived in " << taken.count() << " ms of computation" << std::endl;
  receiver->release();
  pair.barrier(testing::nothing_special);
}

// Both compute until they see the last element of the sum: it has been exchanged, added up and
// handed out meanwhile.
void a_sum(World& world, Group& pair) {
  std::vector<float> values(kBytes / sizeof(float), world.rank() == 0 ? 1.0F : 2.0F);
  const kernels::Tensor tensor(values.data(), kernels::Dtype::kF32,
                               {static_cast<std::int64_t>(values.size())});
  const auto group = world.make_tensor_group(std::array<int, 2>{0, 1}, kBytes);
  pair.barrier(testing::nothing_special);
  const auto begin = Clock::now();
  const auto sum = group->start_all_reduce_sum(tensor, testing::nothing_special);
  EXPECT(compute_until([&] { return seen(&values.back()) == 3.0F; }));
  const std::chrono::duration<double, std::milli> taken = Clock::now() - begin;
  group->wait(sum, testing::nothing_special);
  EXPECT(std::ranges::all_of(values, [](float value) { return value == 3.0F; }));
  if (world.rank() == 0)
    std::cout << "64 MiB were added up in " << taken.count() << " ms of computation" << std::endl;
}

void overlap(World& world) {
  const auto pair = world.make_group(std::array<int, 2>{0, 1});
  a_message(world, *pair);
  a_sum(world, *pair);
}

}  // namespace

int main() {
  WorldOptions options;
  options.deadline = 2 * kLongest;
  return testing::run_job(options, overlap);
}
