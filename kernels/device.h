#pragma once
// What the program needs of a device: memory, an in-order queue of work, and its operations.
#include <cstddef>
#include <memory>
#include <string>

#include "kernels/common/tensor.h"

namespace seq1f1b::kernels {

class Ops;

// Memory and ordering of one device as seen by one rank. Not thread-safe: one thread issues work.
class Device {
 public:
  virtual ~Device() = default;
  virtual std::string description() const = 0;  // e.g. "CPU, 2 threads, avx512"
  virtual std::size_t memory_bytes() const = 0;  // all there is, whoever uses it; 0: unknown
  // Uninitialised memory, aligned to at least 256 bytes, in huge pages where the system has them.
  // Throws Error(kExitUnexpected) naming the size when there is not enough.
  virtual void* allocate(std::size_t bytes) = 0;
  virtual void release(void* pointer, std::size_t bytes) noexcept = 0;
  // Host to device and back, in queue order; the host side may be reused when the call returns.
  virtual void upload(void* device, const void* host, std::size_t bytes) = 0;
  virtual void download(void* host, const void* device, std::size_t bytes) = 0;
  virtual void synchronize() = 0;  // returns when all issued work is done
};

// Owns one allocation of a device.
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  DeviceBuffer(Device& device, std::size_t bytes)
      : device_(&device), data_(bytes ? device.allocate(bytes) : nullptr), bytes_(bytes) {}
  DeviceBuffer(DeviceBuffer&& other) noexcept { swap(other); }
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept {
    DeviceBuffer(std::move(other)).swap(*this);
    return *this;
  }
  ~DeviceBuffer() {
    if (data_) device_->release(data_, bytes_);
  }
  std::byte* data() const { return static_cast<std::byte*>(data_); }
  std::size_t bytes() const { return bytes_; }

 private:
  void swap(DeviceBuffer& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
  }
  Device* device_ = nullptr;
  void* data_ = nullptr;
  std::size_t bytes_ = 0;
};

// One back end, ready for use by one rank. `ops` issues on the device's in-order queue.
struct Backend {
  std::string name;         // "reference", "cpu"
  Dtype compute;            // activations and weights
  Dtype accumulate;         // gradients, moments, master weights, softmax statistics, dK and dV
  std::unique_ptr<Device> device;
  std::unique_ptr<Ops> ops;
  Backend();
  Backend(Backend&&) noexcept;
  ~Backend();
};

// Plain C++, one thread: the truth. `dtype` is kF64 (what `runtime.device: reference` runs) or kF32.
Backend make_reference_backend(Dtype dtype = Dtype::kF64);
// OpenMP and oneDNN in fp32. `threads` changes no bit of any result.
Backend make_cpu_backend(int threads);

}  // namespace seq1f1b::kernels
