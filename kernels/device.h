#pragma once
// What the program needs of a device: memory, an in-order queue of work, and its operations.
//
// "In queue order" means: after everything issued before on the main queue. Devices that compute on
// the host do the work at once, so for them the queue is always empty.
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "kernels/common/tensor.h"

namespace seq1f1b::kernels {

class Ops;

// A point in a queue. Made by Device::make_event, recorded again and again, which leaves waits
// issued before as they are; a wait for one never recorded is none. May go while records of it and
// waits for it are queued. Not thread-safe.
class Event {
 public:
  virtual ~Event() = default;
  // Whether the work before the last record() is done; true when it was never recorded.
  virtual bool done() = 0;
};

// Memory and ordering of one device as seen by one rank. Not thread-safe: one thread issues work.
class Device {
 public:
  virtual ~Device() = default;
  virtual std::string description() const = 0;          // e.g. "CPU, 2 threads, avx512"
  virtual std::size_t memory_bytes() const = 0;         // all there is, whoever uses it; 0: unknown
  virtual std::size_t free_bytes() const { return 0; }  // of it, now; 0: unknown
  // Whether its memory is the host's: plain code may read and write it.
  virtual bool is_host() const { return true; }

  // Uninitialised memory, aligned to at least 256 bytes, in huge pages where the system has them.
  // Throws Error(kExitUnexpected) naming the size when there is not enough.
  virtual void* allocate(std::size_t bytes) = 0;
  // Nothing that was issued may touch the memory any more, in the main queue or another one: the
  // caller has seen its end (an event that is done, download, synchronize), also where an exception
  // is on its way. No device looks, and none need wait: what is left behind writes into memory that
  // may be somebody else's by then. Buffers, below, wait for the main queue; whatever uses their
  // memory from other queues (channels, groups, communicators) is closed before they go.
  virtual void release(void* pointer, std::size_t bytes) noexcept = 0;
  // Host memory that download_later may fill: pinned where that matters. To be released as above.
  virtual void* allocate_host(std::size_t bytes) = 0;
  virtual void release_host(void* pointer, std::size_t bytes) noexcept = 0;

  // Host to device, in queue order; the host side may be reused when the call returns. Does not
  // wait for the queue.
  virtual void upload(void* device, const void* host, std::size_t bytes) = 0;
  // Device to host, in queue order; waits for it.
  virtual void download(void* host, const void* device, std::size_t bytes) = 0;
  // The same without waiting: `host` comes from allocate_host and holds the bytes once an event
  // recorded afterwards is done.
  virtual void download_later(void* host, const void* device, std::size_t bytes) = 0;
  // Device to device, in queue order; the ranges do not overlap.
  virtual void copy(void* to, const void* from, std::size_t bytes) = 0;
  virtual void synchronize() = 0;  // returns when all issued work is done

  virtual std::unique_ptr<Event> make_event() = 0;
  virtual void record(Event& event) = 0;  // behind everything issued so far
  virtual void wait(Event& event) = 0;    // what is issued from now on runs after it

  // Time stamps in queue order, for measured timelines. `index` < kTimeStamps.
  static constexpr int kTimeStamps = 1 << 16;
  virtual void stamp(int index) = 0;
  // Seconds from stamp `first` to stamp `second`; both must have passed (synchronize, event).
  virtual double seconds_between(int first, int second) = 0;

  // Work that comes again and again with the same arguments: pointers, shapes, order. `issue`
  // issues it on the main queue through Ops only and leaves no other trace: a device may call it
  // twice the first time a key comes, to do the work and to capture it as a graph, and replay the
  // graph for that key later without calling `issue`. Equal keys must mean equal work.
  virtual void replay(std::uint64_t key, const std::function<void()>& issue) {
    (void)key;
    issue();
  }
  // Waits for all issued work and drops all captured graphs: what their pointers point to is about
  // to go.
  virtual void forget_graphs() {}
  // Graphs kept by replay and the bytes they take, as far as known.
  struct Graphs {
    std::size_t count = 0, bytes = 0;
  };
  virtual Graphs graphs() const { return {}; }
  // Names the work issued between push and pop for a profiler.
  virtual void push_range(const char* name) { (void)name; }
  virtual void pop_range() {}
};

// Owns one allocation. Gives it back when the main queue has come to its end: it waits for that,
// also where an exception is on its way.
template <void* (Device::*kAllocate)(std::size_t),
          void (Device::*kRelease)(void*, std::size_t) noexcept>
class Buffer {
 public:
  Buffer() = default;
  Buffer(Device& device, std::size_t bytes)
      : device_(&device), data_(bytes ? (device.*kAllocate)(bytes) : nullptr), bytes_(bytes) {}
  Buffer(Buffer&& other) noexcept { swap(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    Buffer(std::move(other)).swap(*this);
    return *this;
  }
  ~Buffer() {
    if (!data_) return;
    try {
      device_->synchronize();
    } catch (...) {
      // The device has failed and does nothing any more. Its error is told where it arose; here it
      // would only hide the first.
    }
    (device_->*kRelease)(data_, bytes_);
  }
  std::byte* data() const { return static_cast<std::byte*>(data_); }
  std::size_t bytes() const { return bytes_; }
  std::span<std::byte> span() const { return {data(), bytes_}; }

 private:
  void swap(Buffer& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
  }
  Device* device_ = nullptr;
  void* data_ = nullptr;
  std::size_t bytes_ = 0;
};
using DeviceBuffer = Buffer<&Device::allocate, &Device::release>;
using HostBuffer = Buffer<&Device::allocate_host, &Device::release_host>;  // pinned

// One back end, ready for use by one rank. `ops` issues on the device's in-order queue.
struct Backend {
  std::string name;  // "reference", "cpu", "cuda"
  Dtype compute;     // activations and weights
  Dtype accumulate;  // gradients, moments, master weights, softmax statistics, dK and dV
  std::unique_ptr<Device> device;
  std::unique_ptr<Ops> ops;
  Backend();
  Backend(Backend&&) noexcept;
  ~Backend();
};

// Plain C++, one thread: the truth. `compute` is kF64 (what `runtime.device: reference` runs),
// kF32, or kBf16, which accumulates in fp32.
Backend make_reference_backend(Dtype compute = Dtype::kF64);
// The instruction sets that the CPU back end is built for, each with all of those before it.
inline constexpr const char* kCpuInstructionSets[] = {"baseline", "avx2", "avx512"};
// One of them: what `wanted` names, or for "auto" the best that this processor has or that the
// environment variable SEQ1F1B_INSTRUCTION_SET names. Throws ConfigError for one that is unknown or
// not there.
std::string cpu_instruction_set(const std::string& wanted = "auto");
// OpenMP, BLIS and oneDNN in fp32. `threads` changes no bit of any result; the instruction set
// does. Throws as cpu_instruction_set.
Backend make_cpu_backend(int threads, const std::string& instruction_set = "auto");
// NVIDIA GPUs: cuda/backend.h.

}  // namespace seq1f1b::kernels
