#pragma once
// Turns an error of the CUDA runtime into an exception that says what was being done.
#include <cuda_runtime_api.h>

#include "kernels/common/errors.h"

namespace seq1f1b::kernels::cuda {

// What to try, for errors whose text leaves one guessing; empty for others.
inline const char* hint_of(cudaError_t error) {
  switch (error) {
    // A kernel's fault shows at some later call and at every call from then on.
    case cudaErrorIllegalAddress:
    case cudaErrorAssert:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorLaunchFailure:
      return "; a kernel issued earlier has failed. CUDA_LAUNCH_BLOCKING=1 in the environment and "
             "runtime.cuda_graphs=false make the call that launched it report it; "
             "compute-sanitizer names the kernel and the line";
    case cudaErrorMemoryAllocation:
      return "; `nvidia-smi` shows what other processes hold of this GPU's memory";
    case cudaErrorDevicesUnavailable:
      return "; another process may have the GPU to itself: `nvidia-smi -q -d COMPUTE` shows its "
             "compute mode, and several ranks on one GPU need Default";
    case cudaErrorSystemNotReady:
      return "; GPUs behind NVSwitch wait for the fabric manager: `systemctl status "
             "nvidia-fabricmanager`";
    case cudaErrorSystemDriverMismatch:
      return "; the driver was updated under a kernel module that is still loaded: load that anew, "
             "or restart the machine";
    default:
      return "";
  }
}

inline void check(cudaError_t error, const char* what) {
  if (error != cudaSuccess) [[unlikely]]
    throw Error(kExitUnexpected, concat("CUDA, ", what, ": ", cudaGetErrorString(error), " (",
                                        cudaGetErrorName(error), ")", hint_of(error)));
}

// Whether the work before the event's record is done. "Not yet" would stay behind as the last error
// and be taken for the next launch's.
inline bool has_passed(cudaEvent_t event) {
  const cudaError_t state = cudaEventQuery(event);
  if (state == cudaErrorNotReady) {
    (void)cudaGetLastError();
    return false;
  }
  check(state, "looking at an event");
  return true;
}

// Whether nothing is under way on the stream, or nothing ever will end: leaves no error behind.
inline bool is_idle(cudaStream_t stream) {
  const cudaError_t state = cudaStreamQuery(stream);
  if (state != cudaSuccess) (void)cudaGetLastError();
  return state != cudaErrorNotReady;
}

}  // namespace seq1f1b::kernels::cuda
