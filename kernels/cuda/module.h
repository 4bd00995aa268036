#pragma once
// The CUDA back end is a module that the executable loads at run time: libseq1f1b_cuda.so, beside
// the executable. This header is all that both sides share; no CUDA header is seen outside the
// module.
//
// The module exports one C function, seq1f1b_cuda_module. Both sides must be built from the same
// sources by the same compiler: interfaces and standard types cross the boundary as they are, which
// the build identity checked here makes safe. The functions of the table do not throw: an error
// crosses as text. The objects they make throw the errors of kernels/common/errors.h, like any
// other back end's.
#include <cstddef>
#include <memory>
#include <string>

#include "kernels/communicator.h"
#include "kernels/device.h"

namespace seq1f1b::kernels::cuda {

inline constexpr int kModuleAbi = 1;
inline constexpr const char* kModuleFile = "libseq1f1b_cuda.so";
inline constexpr const char* kModuleFunction = "seq1f1b_cuda_module";

// Pinned host memory of a device, through which uploads go: token ids and labels of hundreds of
// micro-batches; a model's parameters pass through it once.
inline constexpr std::size_t kStagingBytes = std::size_t{32} << 20;

// kAuto: the library is loaded where there is one, and Ops::choose_attention decides by length.
enum class AttentionKernels { kOwn, kCudnn, kAuto };

struct BackendOptions {
  int local_rank = 0;            // device = local_rank modulo the number of devices
  Dtype compute = Dtype::kBf16;  // kBf16 or kF32; both accumulate in fp32
  bool deterministic = true;     // false: faster variants whose sums run in any order
  bool graphs = true;            // capture and replay graphs (Device::replay)
  AttentionKernels attention = AttentionKernels::kOwn;
};

// Which device a rank got, comparable between ranks of a node.
struct DeviceIdentity {
  std::string bus_id;  // PCI bus id; equal on two ranks of a host: one GPU shared
};

struct Module {
  // Number of usable devices; 0 with the reason in `why`: no driver, no device, one too old.
  int (*device_count)(std::string& why);
  // Null with the reason in `error`.
  std::unique_ptr<Backend> (*make_backend)(const BackendOptions& options, std::string& error);
  DeviceIdentity (*identity)(const Device& device);
  // False with the reason in `error`.
  bool (*make_communicator_id)(CommunicatorId& id, std::string& error);
  std::unique_ptr<Communicator> (*make_communicator)(Device& device,
                                                     const CommunicatorOptions& options,
                                                     std::string& error);
  // "CUDA 13.0, cuBLAS 13.1.0, cuDNN 9.19.0, NCCL 2.28.9": versions and what was left out.
  std::string (*libraries)();
};

// Null with the reason in *refusal when `abi` or `build` are not the module's own.
using ModuleFunction = const Module* (*)(int abi, const char* build, const char** refusal);

}  // namespace seq1f1b::kernels::cuda
