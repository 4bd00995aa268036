#pragma once
// One thread block at a time: its threads as fibers, its barriers, its shared memory, and the
// reports of what a GPU would answer with a hang or with garbage.
//
// Threads run one after the other until they wait. Which runs next is drawn per block from the seed
// (SEQ1F1B_SIMT_SEED), so that what only works in one order fails in some runs: warps in turn, one
// warp as far as it gets, or any thread.
#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <source_location>
#include <string>
#include <type_traits>
#include <vector>

#include "kernels/simt/fiber.h"
#include "kernels/simt/vector_types.h"

namespace seq1f1b::simt {

using Where = std::source_location;

inline constexpr unsigned kWarpSize = 32;
inline constexpr std::size_t kMaxSharedBytes = 227 * 1024;
inline constexpr std::size_t kDefaultSharedBytes =
    48 * 1024;  // static and dynamic, unless asked for
// Shared-space addresses start here, so that zero and small numbers are none; all fit the 18 bits
// of a matrix descriptor.
inline constexpr std::uint32_t kSharedBase = 1024;

struct KernelCall {
  const char* name;
  dim3 grid, block;
  std::size_t shared_bytes;
  std::function<void()> body;                      // run by every thread
  std::size_t shared_limit = kDefaultSharedBytes;  // static and dynamic
};

// Runs all blocks. Empty, or the report of the first fault; the rest of the grid is then given up.
[[nodiscard]] std::string run_kernel(const KernelCall& call);

// A copy under way from global to shared memory: cp.async.
struct AsyncCopy {
  std::byte* to;
  const void* from;  // null: zeros
  std::uint32_t bytes;
};

class Block;

// What goes on in a block beside its threads: the asynchronous proxy of ptx_sm90.h.
class Extension {
 public:
  virtual ~Extension() = default;
  // Brings something to its end; false when nothing is under way. Called when all threads wait.
  virtual bool progress() = 0;
  // All that wait at a barrier are about to go on.
  virtual void passing() = 0;
  // The thread that Block::watched names has run until here, or is about to go on.
  virtual void watched_stops() = 0;
  virtual void watched_goes_on() = 0;
  // A report of what must not be under way when the block ends.
  virtual std::string at_end() = 0;
};

struct Thread {
  enum class State : std::uint8_t { kReady, kWarp, kBarrier, kPoll, kDone };

  Block* block = nullptr;
  unsigned linear = 0;
  uint3 index{};
  std::unique_ptr<Fiber> fiber;
  State state = State::kDone;
  // What it waits in, for the rendezvous and for reports.
  const char* operation = "";
  Where where;
  std::uint32_t mask = 0;     // of a warp's operation
  void* arguments = nullptr;  // likewise
  unsigned barrier = 0;
  std::function<bool()> poll;
  std::vector<AsyncCopy> open_copies;              // not committed yet
  std::deque<std::vector<AsyncCopy>> copy_groups;  // committed, oldest first

  unsigned lane() const { return linear % kWarpSize; }
};

// Lanes of a warp at one operation: arguments[l] is lane l's, null outside the mask.
struct Lanes {
  std::uint32_t mask;
  void* arguments[kWarpSize];
};

class Block {
 public:
  Block(const KernelCall& call, std::uint64_t random);
  ~Block();
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;
  void run(dim3 index);  // throws Fault

  struct Fault {
    std::string report;
  };

  const KernelCall& call;
  dim3 index;  // blockIdx

  // Operations of the running thread.

  // Returns when all lanes of `mask` are here, after `complete` ran once for all of them.
  void meet_warp(const char* operation, std::uint32_t mask, void* arguments,
                 void (*complete)(const Lanes&), const Where& where);
  // All live threads.
  void sync_threads(const Where& where);
  // Barrier `id` of `threads` arrivals; without waiting for arrive.
  void sync_named(unsigned id, unsigned threads, const Where& where);
  void arrive_named(unsigned id, unsigned threads, const Where& where);
  // Until `ready`, which others make true.
  void wait_until(const char* operation, std::function<bool()> ready, const Where& where);
  // Something that others wait_until has come true: they go on now, or when nobody else can.
  void notify();
  void yield();
  struct GivenUp {};  // unwinds the thread that failed
  // Gives the block up.
  [[noreturn]] void fail(const std::string& what, const Where& where);
  void note_exception(const std::string& what);

  unsigned threads() const { return static_cast<unsigned>(threads_.size()); }

  // Shared memory.
  std::byte* shared() const { return shared_; }
  // The `bytes` at a shared-space address; reports addresses outside and misaligned ones.
  std::byte* at(std::uint32_t address, std::size_t bytes, std::size_t alignment,
                const Where& where) {
    const std::size_t offset = std::size_t{address} - kSharedBase;  // huge where it is below
    if (offset > call.shared_bytes || bytes > call.shared_bytes - offset ||
        address % alignment != 0)
      bad_address(address, bytes, alignment, where);
    return shared_ + offset;
  }
  std::uint32_t address_of(const void* pointer, const Where& where);
  // The variable declared at `place`, NaN when the first thread of the block comes to it.
  template <class T>
  T& static_shared(const void* place, const Where& where = Where::current()) {
    static_assert(std::is_trivially_destructible_v<T>, "shared memory has no destructors");
    return *static_cast<T*>(static_shared(place, sizeof(T), alignof(T), where));
  }

  int ballot = 0;  // of __syncthreads_count

  std::unique_ptr<Extension> extension;
  Thread* watched = nullptr;  // by the extension
  void watch(unsigned linear) { watched = threads_[linear]; }
  // The next of this kernel's choices.
  std::uint64_t draw();

 private:
  struct Warp {
    std::uint32_t waiting = 0;  // lanes in an operation of the warp
    std::uint32_t gone = 0;     // lanes that exited, or that the block does not have
  };
  struct Barrier {
    bool open = false;  // somebody arrived in this phase
    bool all = false;   // __syncthreads
    unsigned expected = 0, arrived = 0;
    Where first;
  };
  // A queue of at most all threads.
  class Queue {
   public:
    explicit Queue(std::size_t capacity)
        : places_(std::bit_ceil(std::max<std::size_t>(capacity, 1))), mask_(places_.size() - 1) {}
    bool empty() const { return size_ == 0; }
    std::size_t size() const { return size_; }
    void clear() { size_ = 0; }
    Thread*& operator[](std::size_t i) { return places_[(front_ + i) & mask_]; }
    void push_back(Thread* thread) { (*this)[size_++] = thread; }
    void push_front(Thread* thread) {
      front_ = (front_ - 1) & mask_;
      ++size_;
      (*this)[0] = thread;
    }
    Thread* pop() {
      Thread* const thread = (*this)[0];
      front_ = (front_ + 1) & mask_;
      --size_;
      return thread;
    }

   private:
    std::vector<Thread*> places_;
    std::size_t mask_, front_ = 0, size_ = 0;
  };
  void suspend(Thread& thread);
  Thread& next();
  void wait(Thread& thread, Thread::State state, const char* operation, const Where& where);
  void release(Thread& thread);
  void finish_barrier(unsigned id);
  void join_barrier(unsigned id, unsigned threads, bool all, const Where& where);
  void thread_ended(Thread& thread);
  void start(unsigned linear);
  bool wake_polls();
  void* static_shared(const void* place, std::size_t bytes, std::size_t alignment,
                      const Where& where);
  [[noreturn]] void bad_address(std::uint32_t address, std::size_t bytes, std::size_t alignment,
                                const Where& where);
  [[noreturn]] void deadlock();
  std::string who_waits() const;
  std::string place(const Thread& thread) const;

  std::byte* const shared_;       // of this OS thread's pool
  std::byte* const statics_;      // likewise, for static shared memory
  std::vector<Thread*> threads_;  // likewise
  struct Static {
    const void* place;
    std::byte* data;
  };
  std::vector<Static> declared_;   // in this block so far
  std::size_t static_bytes_ = 0;   // that they take on a GPU
  std::size_t statics_taken_ = 0;  // of `statics_`, with what lies between them
  std::vector<unsigned> order_;    // in which threads start and are released
  Queue ready_;
  std::vector<Warp> warps_;
  std::vector<Barrier> barriers_;
  unsigned live_ = 0;
  bool warp_first_ = false;  // a released warp runs before all others
  bool any_next_ = false;    // whoever is ready may run next
  bool wake_at_once_ = false;
  std::string report_;
  std::uint64_t random_;
};

// The running thread of a kernel. In the static block of thread-local memory also when loaded as a
// module, whose code would else ask a function for the address each time.
[[gnu::tls_model("initial-exec")]] inline constinit thread_local Thread* t_thread = nullptr;
inline Thread& current_thread() { return *t_thread; }
inline Block& current_block() { return *t_thread->block; }

// Reports an access of `bytes` at once whose address is not a multiple of them.
inline void check_alignment(const void* pointer, std::size_t bytes, const Where& where) {
  if (reinterpret_cast<std::uintptr_t>(pointer) % bytes != 0)
    current_block().fail("access of " + std::to_string(bytes) +
                             " bytes at an address that is not a multiple of them",
                         where);
}

// "file.cu:12"
std::string describe(const Where& where);
// The seed of all choices of order.
std::uint64_t seed();
std::uint64_t next_random(std::uint64_t& state);

}  // namespace seq1f1b::simt
