#pragma once
// Communicators by NCCL 2.19 or later (cmake/Cuda.cmake). The two functions are those of the
// module's table: they do not throw, an error crosses as text.
#include <memory>
#include <string>

#include "kernels/communicator.h"
#include "kernels/device.h"

namespace seq1f1b::kernels::cuda {

bool make_communicator_id(CommunicatorId& id, std::string& error);
std::unique_ptr<Communicator> make_communicator(Device& device, const CommunicatorOptions& options,
                                                std::string& error);

}  // namespace seq1f1b::kernels::cuda
