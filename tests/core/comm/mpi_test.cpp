// Under mpirun: the same bodies as in worlds of threads, and what only a job of processes has.
#include <array>
#include <iostream>

#include "kernels/common/host_device.h"
#include "tests/core/comm/mpi_job.h"
#include "tests/core/comm/world_bodies.h"

using namespace seq1f1b;
using namespace seq1f1b::comm;

namespace {

// Longer than any piece that a message may be cut into, and no multiple of one.
void large_messages(testing::Site& site) {
  World& world = site.world;
  constexpr std::size_t kBytes = (std::size_t{20} << 20) + 12'345;
  if (world.rank() > 1) return;
  testing::DeviceRing ring(site.device, 1, kBytes);
  const auto value_at = [](std::size_t i) {
    return static_cast<std::byte>((i * 7 + i / 4096) & 255);
  };
  if (world.rank() == 0) {
    const auto sender = site.fabric.make_sender(1, 0, ring.buffers());
    for (int repeat = 0; repeat < 2; ++repeat) {
      std::byte* buffer = sender->acquire(testing::nothing_special);
      for (std::size_t i = 0; i < kBytes; ++i) buffer[i] = value_at(i);
      sender->commit(kBytes);
    }
  } else {
    const auto receiver = site.fabric.make_receiver(0, 0, ring.buffers());
    receiver->expect(std::array<std::size_t, 2>{kBytes, kBytes});
    for (int repeat = 0; repeat < 2; ++repeat) {
      const std::byte* message = receiver->wait(testing::nothing_special);
      std::size_t wrong = 0;
      for (std::size_t i = 0; i < kBytes; ++i) wrong += message[i] != value_at(i) ? 1 : 0;
      EXPECT(wrong == 0);
      receiver->release();
    }
  }
}

void places(testing::Site& site) {
  World& world = site.world;
  EXPECT(world.local_size() == world.size());
  EXPECT(world.local_rank() == world.rank());
  EXPECT(world.library_bytes() > 0);
}

}  // namespace

int main() {
  WorldOptions options;
  options.deadline = std::chrono::seconds(60);
  return testing::run_job(options, [](World& world) {
    std::vector<testing::Body> bodies = {{"places", places}, {"large messages", large_messages}};
    for (testing::Body& body : testing::channel_bodies()) bodies.push_back(std::move(body));
    for (testing::Body& body : testing::tensor_group_bodies()) bodies.push_back(std::move(body));
    const std::size_t fabric_bodies = bodies.size();
    for (testing::Body& body : testing::group_bodies()) bodies.push_back(std::move(body));
    const auto all = world.make_group(everyone(world));
    kernels::HostDevice device("host");
    const auto plain = connect_devices(world, device);
    const auto staged = make_staged_fabric(world, device);
    const auto run = [&](const testing::Body& body, Fabric& fabric) {
      testing::Site site{world, fabric, device};
      body.run(site);
      all->barrier(
          [&] { return concat("leaving the body '", body.name, "' over ", fabric.description()); });
    };
    for (const testing::Body& body : bodies) run(body, *plain);
    for (std::size_t i = 0; i < fabric_bodies; ++i) run(bodies[i], *staged);
    if (world.rank() == 0) std::cout << bodies.size() << " bodies passed" << std::endl;
  });
}
