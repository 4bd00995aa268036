#pragma once
// For the emulator's own tests.
#include <cuda_runtime_api.h>

#include <string>
#include <type_traits>

namespace seq1f1b::simt::testing {

// A kernel as an argument: a launch wants a constant, which this one's value is.
template <auto kKernel>
using Kernel = std::integral_constant<decltype(kKernel), kKernel>;

// What waiting for everything queued reports; empty when all is well. The device works again after.
inline std::string finish_and_report() {
  std::string report;
  if (const cudaError_t error = cudaDeviceSynchronize(); error != cudaSuccess)
    report = cudaGetErrorString(error);
  cudaDeviceReset();
  return report;
}

// Launches on a stream of its own, as the default stream would run, and throw, at once.
template <class Launch>
std::string report_of(const Launch& launch) {
  cudaStream_t stream;
  cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
  launch(stream);
  const std::string report = finish_and_report();
  cudaStreamDestroy(stream);
  return report;
}

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace seq1f1b::simt::testing
