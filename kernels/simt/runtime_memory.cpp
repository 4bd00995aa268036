// Memory and copies. Fresh memory is NaN in every type. Device memory lies on the host's heap, so
// that the address sanitizer sees kernels that leave their buffers.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>

#include "kernels/common/errors.h"
#include "kernels/simt/address_sanitizer.h"
#include "kernels/simt/launch.h"
#include "kernels/simt/runtime.h"

namespace seq1f1b::simt {
namespace {

std::uintptr_t address(const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer); }

cudaError_t allocate(void** pointer, std::size_t bytes, MemoryKind kind) {
  Runtime& runtime = Runtime::get();
  const std::scoped_lock lock(runtime.mutex);
  if (runtime.sticky != cudaSuccess) return fail(runtime.sticky);
  if (runtime.capturing()) return fail(cudaErrorStreamCaptureUnsupported);
  *pointer = nullptr;
  if (bytes == 0) return cudaSuccess;
  const bool device = kind == MemoryKind::kDevice;
  if (device && runtime.allocated_bytes + bytes > device_memory_bytes())
    return fail(cudaErrorMemoryAllocation);
  void* memory = nullptr;
  if (posix_memalign(&memory, 512, bytes) != 0) return fail(cudaErrorMemoryAllocation);
  std::memset(memory, 0xFF, bytes);
  if (device) runtime.allocated_bytes += bytes;
  runtime.peak_bytes = std::max(runtime.peak_bytes, runtime.allocated_bytes);
  ++runtime.allocations;
  runtime.memory[address(memory)] = {bytes, kind, true};
  *pointer = memory;
  return cudaSuccess;
}

cudaError_t release(void* pointer, MemoryKind kind) {
  Runtime& runtime = Runtime::get();
  const std::scoped_lock lock(runtime.mutex);
  if (!pointer) return cudaSuccess;
  if (runtime.capturing()) return fail(cudaErrorStreamCaptureUnsupported);
  const auto found = runtime.memory.find(address(pointer));
  if (found == runtime.memory.end() || found->second.kind != kind || !found->second.own)
    return fail(cudaErrorInvalidValue);
  runtime.run_all();  // work that still uses it
  if (kind == MemoryKind::kDevice) runtime.allocated_bytes -= found->second.bytes;
  runtime.memory.erase(found);
  std::free(pointer);
  return runtime.sticky;
}

bool fits(cudaMemcpyKind kind, MemoryKind to, MemoryKind from) {
  const bool to_device = to == MemoryKind::kDevice, from_device = from == MemoryKind::kDevice;
  switch (kind) {
    case cudaMemcpyHostToHost:
      return !to_device && !from_device;
    case cudaMemcpyHostToDevice:
      return to_device && !from_device;
    case cudaMemcpyDeviceToHost:
      return !to_device && from_device;
    case cudaMemcpyDeviceToDevice:
      return to_device && from_device;
    case cudaMemcpyDefault:
      return true;
  }
  return false;
}

}  // namespace

MemoryKind Runtime::kind_of(const void* pointer, std::size_t bytes, bool* outside) const {
  auto next = memory.upper_bound(address(pointer));
  if (next != memory.begin()) {
    const auto& [begin, allocation] = *std::prev(next);
    if (address(pointer) < begin + allocation.bytes) {
      if (outside && address(pointer) + bytes > begin + allocation.bytes) *outside = true;
      return allocation.kind;
    }
  }
  return MemoryKind::kPageable;
}

std::byte* piece_of_memory(std::byte* place, std::size_t bytes) {
  if (!seq1f1b::testing::kAddressSanitizer || bytes == 0) return place;
  Runtime& runtime = Runtime::get();
  const std::scoped_lock lock(runtime.mutex);
  static std::map<std::pair<std::byte*, std::size_t>, void*> pieces;
  void*& piece = pieces[{place, bytes}];
  if (!piece) {
    SEQ1F1B_ASSERT(posix_memalign(&piece, 256, bytes) == 0, "no memory for ", bytes, " bytes");
    std::memset(piece, 0xFF, bytes);
    runtime.memory[address(piece)] = {bytes, runtime.kind_of(place, bytes), false};
  }
  return static_cast<std::byte*>(piece);
}

}  // namespace seq1f1b::simt

using seq1f1b::simt::fail;
using seq1f1b::simt::MemoryKind;
using seq1f1b::simt::Runtime;

cudaError_t cudaMalloc(void** pointer, std::size_t bytes) {
  return seq1f1b::simt::allocate(pointer, bytes, MemoryKind::kDevice);
}
cudaError_t cudaFree(void* pointer) { return seq1f1b::simt::release(pointer, MemoryKind::kDevice); }
cudaError_t cudaMallocHost(void** pointer, std::size_t bytes, unsigned) {
  return seq1f1b::simt::allocate(pointer, bytes, MemoryKind::kPinned);
}
cudaError_t cudaHostAlloc(void** pointer, std::size_t bytes, unsigned) {
  return seq1f1b::simt::allocate(pointer, bytes, MemoryKind::kPinned);
}
cudaError_t cudaFreeHost(void* pointer) {
  return seq1f1b::simt::release(pointer, MemoryKind::kPinned);
}

cudaError_t cudaHostRegister(void* pointer, std::size_t bytes, unsigned) {
  Runtime& runtime = Runtime::get();
  const std::scoped_lock lock(runtime.mutex);
  if (runtime.kind_of(pointer, bytes) != MemoryKind::kPageable)
    return fail(cudaErrorHostMemoryAlreadyRegistered);
  runtime.memory[seq1f1b::simt::address(pointer)] = {bytes, MemoryKind::kPinned, false};
  return cudaSuccess;
}
cudaError_t cudaHostUnregister(void* pointer) {
  Runtime& runtime = Runtime::get();
  const std::scoped_lock lock(runtime.mutex);
  const auto found = runtime.memory.find(seq1f1b::simt::address(pointer));
  if (found == runtime.memory.end() || found->second.own)
    return fail(cudaErrorHostMemoryNotRegistered);
  runtime.run_all();
  runtime.memory.erase(found);
  return cudaSuccess;
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* pointer) {
  Runtime& runtime = Runtime::get();
  const std::scoped_lock lock(runtime.mutex);
  const MemoryKind kind = runtime.kind_of(pointer, 1);
  void* plain = const_cast<void*>(pointer);
  *attributes = {};
  attributes->type = kind == MemoryKind::kDevice   ? cudaMemoryTypeDevice
                     : kind == MemoryKind::kPinned ? cudaMemoryTypeHost
                                                   : cudaMemoryTypeUnregistered;
  attributes->devicePointer = kind == MemoryKind::kPageable ? nullptr : plain;
  attributes->hostPointer = kind == MemoryKind::kDevice ? nullptr : plain;
  return cudaSuccess;
}

cudaError_t cudaMemGetInfo(std::size_t* available, std::size_t* total) {
  Runtime& runtime = Runtime::get();
  const std::scoped_lock lock(runtime.mutex);
  *total = seq1f1b::simt::device_memory_bytes();
  *available = *total - runtime.allocated_bytes;
  return cudaSuccess;
}

cudaError_t cudaMemcpy2DAsync(void* to, std::size_t to_pitch, const void* from,
                              std::size_t from_pitch, std::size_t width, std::size_t height,
                              cudaMemcpyKind kind, cudaStream_t stream) {
  Runtime& runtime = Runtime::get();
  const std::scoped_lock lock(runtime.mutex);
  if (width == 0 || height == 0) return fail(runtime.sticky);
  if (to_pitch < width || from_pitch < width) return fail(cudaErrorInvalidValue);
  bool outside = false;
  const MemoryKind to_kind = runtime.kind_of(to, (height - 1) * to_pitch + width, &outside);
  const MemoryKind from_kind = runtime.kind_of(from, (height - 1) * from_pitch + width, &outside);
  if (outside || !seq1f1b::simt::fits(kind, to_kind, from_kind)) return fail(cudaErrorInvalidValue);

  const auto copy_rows = [=](const std::byte* source, std::size_t source_pitch) {
    for (std::size_t row = 0; row < height; ++row)
      std::memcpy(static_cast<std::byte*>(to) + row * to_pitch, source + row * source_pitch, width);
  };
  seq1f1b::simt::Task task;
  if (from_kind == MemoryKind::kPageable && !(stream && stream->capture)) {
    // "Copies from pageable memory are staged before the call returns": Runtime API, "API
    // synchronization behavior".
    auto staged = std::make_shared<std::vector<std::byte>>(width * height);
    for (std::size_t row = 0; row < height; ++row)
      std::memcpy(staged->data() + row * width,
                  static_cast<const std::byte*>(from) + row * from_pitch, width);
    task.run = [=] { copy_rows(staged->data(), width); };
  } else {
    task.run = [=] { copy_rows(static_cast<const std::byte*>(from), from_pitch); };
  }
  const cudaError_t error = runtime.submit(stream, std::move(task));
  if (error != cudaSuccess) return error;
  // ... and copies to pageable memory return when done.
  if (to_kind == MemoryKind::kPageable && !(stream && stream->capture))
    return cudaStreamSynchronize(stream);
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  return cudaMemcpy2DAsync(to, bytes, from, bytes, bytes, 1, kind, stream);
}
cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  return cudaMemcpyAsync(to, from, bytes, kind, nullptr);
}

cudaError_t cudaMemsetAsync(void* to, int value, std::size_t bytes, cudaStream_t stream) {
  Runtime& runtime = Runtime::get();
  const std::scoped_lock lock(runtime.mutex);
  if (bytes == 0) return fail(runtime.sticky);
  bool outside = false;
  if (runtime.kind_of(to, bytes, &outside) == MemoryKind::kPageable || outside)
    return fail(cudaErrorInvalidValue);
  return runtime.submit(stream, {[=] { std::memset(to, value, bytes); }, nullptr, nullptr});
}
cudaError_t cudaMemset(void* to, int value, std::size_t bytes) {
  return cudaMemsetAsync(to, value, bytes, nullptr);
}
