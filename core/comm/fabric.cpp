#include "core/comm/fabric.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <string_view>

#include "core/comm/direct_fabric.h"
#include "core/comm/transport.h"
#include "kernels/cuda/module.h"

namespace seq1f1b::comm {
namespace {

// Whether a launch returns when its kernel is done, which is for finding the one that fails (CUDA
// programming guide, environment variables). A receive's is when its message has come: the host
// would wait before it has issued what the peer is waiting for.
bool launches_block() {
  const char* const value = std::getenv("CUDA_LAUNCH_BLOCKING");
  return value && *value && std::string_view(value) != "0";
}

// Every rank's string, by rank.
std::vector<std::string> of_all_ranks(World& world, const std::string& mine,
                                      const std::string& what) {
  return world.make_group(everyone(world))->all_gather(mine, [&] { return what; });
}

bool launches_block_anywhere(World& world) {
  const auto blocking = of_all_ranks(world, launches_block() ? "yes" : "no",
                                     "comparing the environments of the ranks");
  return std::ranges::find(blocking, "yes") != blocking.end();
}

// Equal for all processes of one machine, also in containers with names of their own.
std::string machine() {
  std::string boot;
  std::ifstream("/proc/sys/kernel/random/boot_id") >> boot;
  return boot.empty() ? Transport::host_name() : boot;
}

constexpr const char* kHint = "; the environment variable NCCL_DEBUG=WARN makes NCCL say more";

CommunicatorFactory nccl(kernels::Device& device, const kernels::cuda::Module& module) {
  return {.name = "NCCL",
          .hint =
              "NCCL_DEBUG=INFO in the environment shows which network NCCL takes, "
              "NCCL_SOCKET_IFNAME=eth0 makes it take that one",
          .make_id =
              [&module] {
                kernels::CommunicatorId id;
                std::string error;
                if (!module.make_communicator_id(id, error))
                  throw Error(kExitUnexpected, concat(error, kHint));
                return id;
              },
          .make =
              [&module, &device](const kernels::CommunicatorOptions& options) {
                std::string error;
                auto communicator = module.make_communicator(device, options, error);
                if (!communicator) throw Error(kExitUnexpected, concat(error, kHint));
                return communicator;
              }};
}

}  // namespace

std::string Fabric::description() const { return world_.description(); }

std::unique_ptr<Sender> Fabric::make_sender(int to, int id,
                                            std::vector<std::span<std::byte>> buffers) {
  return world_.make_sender(to, id, std::move(buffers));
}

std::unique_ptr<Receiver> Fabric::make_receiver(int from, int id,
                                                std::vector<std::span<std::byte>> buffers) {
  return world_.make_receiver(from, id, std::move(buffers));
}

std::unique_ptr<TensorGroup> Fabric::make_group(std::span<const int> members,
                                                std::size_t in_flight_bytes) {
  return world_.make_tensor_group(members, in_flight_bytes);
}

void Fabric::wait_for(kernels::Event& event, const Describe& what) {
  world_.wait_until([&] { return event.done(); }, [] { return std::string("the device"); }, what);
}

std::vector<int> sharing_ranks(World& world, const kernels::Device& device,
                               const kernels::cuda::Module& module) {
  const std::vector<std::string> devices =
      of_all_ranks(world, concat(machine(), " ", module.identity(device).bus_id),
                   "comparing the devices of the ranks");
  std::vector<int> sharing;
  for (const std::string& device_of_rank : devices)
    sharing.push_back(static_cast<int>(std::ranges::count(devices, device_of_rank)));
  return sharing;
}

std::unique_ptr<Fabric> connect_devices(World& world, kernels::Device& device,
                                        const kernels::cuda::Module* module) {
  if (device.is_host()) return std::make_unique<Fabric>(world);
  if (module && std::ranges::max(sharing_ranks(world, device, *module)) > 1)
    return make_staged_fabric(world, device, "ranks share a GPU");
  if (module && launches_block_anywhere(world))
    return make_staged_fabric(world, device, "CUDA_LAUNCH_BLOCKING is set");
  if (module) return std::make_unique<DirectFabric>(world, device, nccl(device, *module));
  return make_staged_fabric(world, device);
}

}  // namespace seq1f1b::comm
