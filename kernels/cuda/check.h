#pragma once
// Turns an error of the CUDA runtime into an exception that says what was being done.
#include <cuda_runtime_api.h>

#include "kernels/common/errors.h"

namespace seq1f1b::kernels::cuda {

inline void check(cudaError_t error, const char* what) {
  if (error != cudaSuccess) [[unlikely]]
    throw Error(kExitUnexpected, concat("CUDA, ", what, ": ", cudaGetErrorString(error), " (",
                                        cudaGetErrorName(error), ")"));
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

}  // namespace seq1f1b::kernels::cuda
