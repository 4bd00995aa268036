#pragma once
// The CUDA back end as seen by the rest of the program: plain C++, always built, also where there
// is no CUDA.
#include <memory>
#include <string>

#include "kernels/communicator.h"
#include "kernels/cuda/module.h"
#include "kernels/device.h"

namespace seq1f1b::kernels::cuda {

// Asks the driver for all the work queues it has, 32, in the environment: before the first thread
// where that can be, and before anybody starts the driver, which an MPI may do. Streams share
// queues where there are fewer, 8 if nobody asks and the 1 that Megatron's scripts set (CUDA
// programming guide, CUDA_DEVICE_MAX_CONNECTIONS): a receive that waits for a peer could then hold
// up the very send that the peer waits for. Every channel has a stream.
void ask_for_work_queues();

// Loads the module once per process: the file named by the environment variable
// SEQ1F1B_CUDA_MODULE, else libseq1f1b_cuda.so beside the executable. Null with the reason in `why`
// when there is none, when it does not load (no CUDA libraries), or when it is of another build.
const Module* load_module(std::string* why = nullptr);

// Number of usable GPUs; 0 with the reason in `why`. Without an NVIDIA driver the module is not
// even loaded, unless the environment names one.
int device_count(std::string* why = nullptr);

// Throws ConfigError with the reason and a hint when there is no module or no usable device.
Backend make_cuda_backend(const BackendOptions& options);

// Exposed for tests: one file, asked for the module of this ABI and build. Null with the reason in
// `why`.
const Module* load_module_file(const std::string& path, int abi, const char* build,
                               std::string& why);

}  // namespace seq1f1b::kernels::cuda
