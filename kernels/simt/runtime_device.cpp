// The one emulated device: its attributes and its kernels' limits.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "kernels/simt/block.h"
#include "kernels/simt/runtime.h"

namespace seq1f1b::simt {
namespace {

std::uint64_t number_from(const char* variable, std::uint64_t otherwise) {
  const char* text = std::getenv(variable);
  return text && *text ? std::strtoull(text, nullptr, 10) : otherwise;
}

}  // namespace

// Opt-in limits of a block: CUDA C++ Programming Guide, "Compute Capabilities".
int shared_bytes_optin() {
  switch (device_architecture()) {
    case 80:
    case 87:
      return 163 * 1024;
    case 86:
    case 89:
      return 99 * 1024;
    default:
      return device_architecture() >= 120 ? 99 * 1024 : 227 * 1024;
  }
}

std::size_t device_memory_bytes() { return number_from("SEQ1F1B_SIMT_MEMORY_MB", 4096) << 20; }
int device_architecture() { return static_cast<int>(number_from("SEQ1F1B_SIMT_ARCH", 80)); }

}  // namespace seq1f1b::simt

using seq1f1b::simt::device_architecture;
using seq1f1b::simt::fail;
using seq1f1b::simt::Runtime;

cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  return device == 0 ? cudaSuccess : fail(cudaErrorInvalidDevice);
}
cudaError_t cudaSetDeviceFlags(unsigned) { return cudaSuccess; }

// Drops queued work and a failure; allocations stay, as tests free them later.
cudaError_t cudaDeviceReset() {
  Runtime& runtime = Runtime::get();
  const std::scoped_lock lock(runtime.mutex);
  for (auto* stream : runtime.streams) {
    stream->capture.reset();
    for (auto& task : stream->queue)
      if (task.record) task.record->done = task.number;
    stream->queue.clear();
  }
  runtime.sticky = cudaSuccess;
  runtime.report.clear();
  cudaGetLastError();
  return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize() {
  Runtime& runtime = Runtime::get();
  const std::scoped_lock lock(runtime.mutex);
  if (runtime.capturing()) return fail(cudaErrorStreamCaptureUnsupported);
  runtime.run_all();
  return fail(runtime.sticky);
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  if (device != 0) return fail(cudaErrorInvalidDevice);
  switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock:
      *value = 1024;
      break;
    case cudaDevAttrMaxThreadsPerMultiProcessor:
      *value = 2048;
      break;
    case cudaDevAttrMaxSharedMemoryPerBlock:
      *value = 48 * 1024;
      break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = seq1f1b::simt::shared_bytes_optin();
      break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
      *value = seq1f1b::simt::shared_bytes_optin() + 1024;
      break;
    case cudaDevAttrMaxRegistersPerMultiprocessor:
      *value = 65536;
      break;
    case cudaDevAttrWarpSize:
      *value = 32;
      break;
    // Few, so that loops over more work than a wave are taken by small tests.
    case cudaDevAttrMultiProcessorCount:
      *value = 4;
      break;
    case cudaDevAttrComputeCapabilityMajor:
      *value = device_architecture() / 10;
      break;
    case cudaDevAttrComputeCapabilityMinor:
      *value = device_architecture() % 10;
      break;
    case cudaDevAttrL2CacheSize:
      *value = 1 << 20;
      break;
    case cudaDevAttrClockRate:
    case cudaDevAttrMemoryClockRate:
      *value = 1000000;
      break;
    case cudaDevAttrGlobalMemoryBusWidth:
      *value = 1024;
      break;
    case cudaDevAttrConcurrentKernels:
    case cudaDevAttrUnifiedAddressing:
      *value = 1;
      break;
    case cudaDevAttrIntegrated:
    case cudaDevAttrComputeMode:
      *value = 0;
      break;
    default:
      return fail(cudaErrorInvalidValue);
  }
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  if (device != 0) return fail(cudaErrorInvalidDevice);
  *properties = {};
  std::snprintf(properties->name, sizeof properties->name, "emulated device");
  properties->totalGlobalMem = seq1f1b::simt::device_memory_bytes();
  properties->sharedMemPerBlock = 48 * 1024;
  properties->sharedMemPerBlockOptin =
      static_cast<std::size_t>(seq1f1b::simt::shared_bytes_optin());
  properties->sharedMemPerMultiprocessor = properties->sharedMemPerBlockOptin + 1024;
  properties->warpSize = 32;
  properties->maxThreadsPerBlock = 1024;
  properties->major = device_architecture() / 10;
  properties->minor = device_architecture() % 10;
  properties->l2CacheSize = 1 << 20;
  return cudaDeviceGetAttribute(&properties->multiProcessorCount, cudaDevAttrMultiProcessorCount,
                                0);
}

cudaError_t cudaDeviceGetPCIBusId(char* text, int bytes, int device) {
  if (device != 0) return fail(cudaErrorInvalidDevice);
  std::snprintf(text, static_cast<std::size_t>(bytes), "0000:00:00.0");
  return cudaSuccess;
}
cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  if (least) *least = 0;
  if (greatest) *greatest = -5;
  return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) { return cudaDriverGetVersion(version); }

cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute attribute, int value) {
  Runtime& runtime = Runtime::get();
  const std::scoped_lock lock(runtime.mutex);
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaSuccess;
  if (value < 0 || value > seq1f1b::simt::shared_bytes_optin()) return fail(cudaErrorInvalidValue);
  runtime.allowed_shared_bytes[kernel] = static_cast<std::size_t>(value);
  return cudaSuccess;
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, const void*, int threads,
                                                          std::size_t shared_bytes) {
  const std::size_t by_memory =
      static_cast<std::size_t>(seq1f1b::simt::shared_bytes_optin()) / (shared_bytes + 1024);
  *blocks = std::max(0, std::min(2048 / std::max(threads, 1), static_cast<int>(by_memory)));
  return cudaSuccess;
}
