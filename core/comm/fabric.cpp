#include "core/comm/fabric.h"

#include <algorithm>
#include <fstream>
#include <numeric>

#include "core/comm/direct_fabric.h"
#include "core/comm/host_fabric.h"
#include "core/comm/transport.h"
#include "kernels/cuda/module.h"

namespace seq1f1b::comm {
namespace {

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

void check_summable(const kernels::Tensor& values) {
  SEQ1F1B_ASSERT(values.dtype == kernels::Dtype::kF32 || values.dtype == kernels::Dtype::kF64,
                 "a sum over ranks of ", kernels::describe(values));
}

std::vector<int> sharing_ranks(World& world, const kernels::Device& device,
                               const kernels::cuda::Module& module) {
  std::vector<int> everyone(static_cast<std::size_t>(world.size()));
  std::iota(everyone.begin(), everyone.end(), 0);
  const std::vector<std::string> devices = world.make_group(everyone)->all_gather(
      concat(machine(), " ", module.identity(device).bus_id),
      [] { return std::string("comparing the devices of the ranks"); });
  std::vector<int> sharing;
  for (const std::string& device_of_rank : devices)
    sharing.push_back(static_cast<int>(std::ranges::count(devices, device_of_rank)));
  return sharing;
}

std::unique_ptr<Fabric> connect_devices(World& world, kernels::Device& device,
                                        const kernels::cuda::Module* module) {
  if (device.is_host()) return std::make_unique<HostFabric>(world);
  if (module && std::ranges::max(sharing_ranks(world, device, *module)) > 1)
    return make_staged_fabric(world, device, "ranks share a GPU");
  if (module) return std::make_unique<DirectFabric>(world, device, nccl(device, *module));
  return make_staged_fabric(world, device);
}

}  // namespace seq1f1b::comm
