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

}  // namespace seq1f1b::kernels::cuda
