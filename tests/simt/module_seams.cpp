// What the emulated module has in place of NVIDIA's libraries. Ranks on the emulated device share it,
// so no communicator is ever asked for: their messages are staged through host memory.
#include "kernels/cuda/libraries.h"
#include "kernels/cuda/nccl_communicator.h"

namespace seq1f1b::kernels::cuda {

std::string libraries() { return "emulated device: no NVIDIA libraries"; }

bool make_communicator_id(CommunicatorId&, std::string& error) {
  error = "the emulated device has no NCCL";
  return false;
}

std::unique_ptr<Communicator> make_communicator(Device&, const CommunicatorOptions&,
                                                std::string& error) {
  error = "the emulated device has no NCCL";
  return nullptr;
}

}  // namespace seq1f1b::kernels::cuda
