#pragma once
// What stands behind the emulated CUDA runtime. Streams are lazy: launches and copies queue up and
// run only when the host waits or asks, one at a time, each time that of a stream drawn by the seed
// among those whose next operation may run. Only streams and events order them, so that a missing
// dependency shows as a wrong result in some runs.
//
// One lock around every call; kernels run inside it, on the thread that waits.
#include <cuda_runtime_api.h>

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace seq1f1b::simt {

// A recorded launch or copy and the nodes that it follows.
struct Node {
  std::function<void()> run;
  std::vector<int> after;
};

struct Capture {
  cudaStream_t origin = nullptr;
  std::thread::id thread = std::this_thread::get_id();  // that began it
  std::vector<Node> nodes;
  bool invalid = false;
};

struct EventState {
  std::uint64_t issued = 0, done = 0;  // number of the last record
  std::chrono::steady_clock::time_point time;
  bool timing = true;
  // Recorded on a stream that was capturing: what a waiter follows.
  std::shared_ptr<Capture> capture;
  std::vector<int> nodes;
};

struct Task {
  std::function<void()> run;  // empty for the two below
  std::shared_ptr<EventState> wait, record;
  std::uint64_t number = 0;  // of the record that is waited for or done
};

enum class MemoryKind { kPageable, kPinned, kDevice };

struct Allocation {
  std::size_t bytes;
  MemoryKind kind;
  bool own;  // false: registered
};

class Runtime {
 public:
  static Runtime& get();

  std::recursive_mutex mutex;
  std::vector<cudaStream_t> streams;  // in the order of their making
  std::map<std::uintptr_t, Allocation> memory;
  std::map<const void*, std::size_t> allowed_shared_bytes;
  std::size_t allocated_bytes = 0, peak_bytes = 0;  // of the device
  long allocations = 0;                             // of device and pinned memory, so far

  // What every later call answers once a kernel has failed.
  cudaError_t sticky = cudaSuccess;
  std::string report;

  cudaError_t submit(cudaStream_t stream, Task task);
  // Runs one operation that may run; false when there is none.
  bool step();
  // Until `done`.
  void run_until(const std::function<bool()>& done);
  void run_all();
  void fault(const std::string& what);
  bool known(cudaStream_t stream) const;
  // This thread: what a rank records is no business of the ranks on other threads, which are
  // processes of their own on a GPU.
  bool capturing() const;
  // The allocation that holds all of [pointer, pointer + bytes); pageable memory has none.
  MemoryKind kind_of(const void* pointer, std::size_t bytes, bool* outside = nullptr) const;
  void run_nodes(const std::vector<Node>& nodes);
  std::uint64_t random();

 private:
  Runtime();
  std::uint64_t random_;
};

// The last error of this thread; returns it.
cudaError_t fail(cudaError_t error);

std::size_t device_memory_bytes();
int device_architecture();
int shared_bytes_optin();  // a block's most

}  // namespace seq1f1b::simt

struct CUstream_st {
  std::deque<seq1f1b::simt::Task> queue;
  bool blocking = true;  // orders itself with the default stream
  std::shared_ptr<seq1f1b::simt::Capture> capture;
  std::vector<int> last_nodes;
};
struct CUevent_st {
  std::shared_ptr<seq1f1b::simt::EventState> state;
};
struct CUgraph_st {
  std::shared_ptr<const std::vector<seq1f1b::simt::Node>> nodes;
};
struct CUgraphExec_st {
  std::shared_ptr<const std::vector<seq1f1b::simt::Node>> nodes;
};
