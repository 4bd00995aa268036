#include "kernels/simt/block.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <numeric>

#include "kernels/common/errors.h"
#include "kernels/simt/address_sanitizer.h"

namespace seq1f1b::simt {
namespace {

constexpr unsigned kBarriers = 16;

// A fiber lives through many kernels: from here to here it runs one thread of one block.
void run_threads(void* argument) {
  auto& thread = *static_cast<Thread*>(argument);
  for (;;) {
    try {
      thread.block->call.body();
    } catch (const Block::GivenUp&) {
    } catch (const std::exception& exception) {
      thread.block->note_exception(exception.what());
    }
    thread.state = Thread::State::kDone;
    Fiber::suspend();
  }
}

// Between variables in static shared memory, for the address sanitizer.
constexpr std::size_t kMargin = 64;
constexpr std::size_t kStaticsBytes = 2 * kDefaultSharedBytes;

// What an OS thread keeps between kernels.
struct Pool {
  static std::byte* allocate(std::size_t bytes) {
    return static_cast<std::byte*>(std::aligned_alloc(1024, bytes));
  }
  std::deque<Thread> threads;
  std::byte* shared = allocate(kMaxSharedBytes);
  std::byte* statics = allocate(kStaticsBytes);
  ~Pool() {
    ASAN_UNPOISON_MEMORY_REGION(shared, kMaxSharedBytes);
    ASAN_UNPOISON_MEMORY_REGION(statics, kStaticsBytes);
    std::free(shared);
    std::free(statics);
  }
};
Pool& pool() {
  thread_local Pool pool;
  return pool;
}

std::string text(const dim3& d) { return concat("(", d.x, ", ", d.y, ", ", d.z, ")"); }

}  // namespace

std::string describe(const Where& where) {
  std::string file = where.file_name();
  if (const auto slash = file.rfind('/'); slash != std::string::npos) file.erase(0, slash + 1);
  return concat(file, ":", where.line());
}

std::uint64_t seed() {
  static const std::uint64_t value = [] {
    const char* text = std::getenv("SEQ1F1B_SIMT_SEED");
    return text ? std::strtoull(text, nullptr, 10) : 1ull;
  }();
  return value;
}

// splitmix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014.
std::uint64_t next_random(std::uint64_t& state) {
  std::uint64_t z = state += 0x9e3779b97f4a7c15ull;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

std::string run_kernel(const KernelCall& call) {
  static thread_local std::uint64_t random = seed();
  const std::uint64_t blocks = std::uint64_t{call.grid.x} * call.grid.y * call.grid.z;
  const bool backwards = next_random(random) & 1;
  Block block(call, next_random(random));
  Thread* outer = t_thread;
  std::string report;
  try {
    for (std::uint64_t i = 0; i < blocks; ++i) {
      const std::uint64_t b = backwards ? blocks - 1 - i : i;
      block.run(dim3(static_cast<unsigned>(b % call.grid.x),
                     static_cast<unsigned>(b / call.grid.x % call.grid.y),
                     static_cast<unsigned>(b / call.grid.x / call.grid.y)));
    }
  } catch (const Block::Fault& fault) {
    report = fault.report;
  }
  t_thread = outer;
  return report;
}

Block::Block(const KernelCall& kernel, std::uint64_t random)
    : call(kernel),
      shared_(pool().shared),
      statics_(pool().statics),
      ready_(std::size_t{kernel.block.x} * kernel.block.y * kernel.block.z),
      barriers_(kBarriers),
      random_(random) {
  const unsigned count = call.block.x * call.block.y * call.block.z;
  auto& threads = pool().threads;
  while (threads.size() < count) threads.emplace_back();
  for (unsigned i = 0; i < count; ++i) threads_.push_back(&threads[i]);
  order_.resize(count);
}

// Fibers in the middle of something are of no use to the next kernel.
Block::~Block() {
  for (Thread* thread : threads_)
    if (thread->state != Thread::State::kDone) thread->fiber.reset();
}

std::uint64_t Block::draw() { return next_random(random_); }

void Block::start(unsigned linear) {
  Thread& thread = *threads_[linear];
  thread.block = this;
  thread.linear = linear;
  thread.index = {linear % call.block.x, linear / call.block.x % call.block.y,
                  linear / call.block.x / call.block.y};
  thread.open_copies.clear();
  thread.copy_groups.clear();
  if (!thread.fiber) thread.fiber = std::make_unique<Fiber>(&run_threads, &thread);
  thread.state = Thread::State::kReady;
}

void Block::run(dim3 block_index) {
  index = block_index;
  ASAN_UNPOISON_MEMORY_REGION(shared_, kMaxSharedBytes);
  std::memset(shared_, 0xFF, call.shared_bytes);  // NaN in every type
  ASAN_POISON_MEMORY_REGION(shared_ + call.shared_bytes, kMaxSharedBytes - call.shared_bytes);
  declared_.clear();
  static_bytes_ = statics_taken_ = 0;
  ASAN_POISON_MEMORY_REGION(statics_, kStaticsBytes);
  extension.reset();
  watched = nullptr;
  ballot = 0;
  std::fill(barriers_.begin(), barriers_.end(), Barrier{});
  live_ = static_cast<unsigned>(threads_.size());
  const unsigned warps = (live_ + kWarpSize - 1) / kWarpSize;
  warps_.assign(warps, Warp{});
  if (const unsigned last = live_ % kWarpSize) warps_.back().gone = ~0u << last;

  // Warps in any order; lanes of a warp one way or the other.
  const std::uint64_t choice = draw();
  std::iota(order_.begin(), order_.end(), 0u);
  if (choice & 1) {
    const auto rotation = static_cast<unsigned>((choice >> 8) % warps);
    const auto rank = [&](unsigned t) {
      return std::pair((t / kWarpSize + rotation) % warps, t % kWarpSize);
    };
    std::sort(order_.begin(), order_.end(),
              [&](unsigned a, unsigned b) { return rank(a) < rank(b); });
  }
  if (choice & 2) std::reverse(order_.begin(), order_.end());
  warp_first_ = choice & 4;
  any_next_ = (choice & 24) == 0;
  wake_at_once_ = choice & 32;

  ready_.clear();
  for (unsigned linear : order_) {
    start(linear);
    ready_.push_back(threads_[linear]);
  }
  while (live_ > 0) {
    while (ready_.empty() && !wake_polls())
      if (!extension || !extension->progress()) deadlock();
    t_thread = &next();
    t_thread->fiber->resume();
    // Whoever came back: it ended, or nobody was ready whom it could have handed over to.
    Thread& thread = *t_thread;
    if (!report_.empty()) throw Fault{report_};
    if (thread.state == Thread::State::kDone) thread_ended(thread);
    if (!report_.empty()) throw Fault{report_};
  }
  if (!extension) return;
  if (const std::string left = extension->at_end(); !left.empty())
    throw Fault{concat("kernel ", call.name, ", block ", text(index), ": ", left)};
}

// Takes a thread that is ready.
Thread& Block::next() {
  if (any_next_) std::swap(ready_[0], ready_[draw() % ready_.size()]);
  return *ready_.pop();
}

// From inside the thread, whose new state is set: others run until it is resumed.
void Block::suspend(Thread& thread) {
  const bool seen = &thread == watched;
  if (seen) extension->watched_stops();
  if (ready_.empty()) {
    Fiber::suspend();
  } else if (Thread& other = next(); &other != &thread) {
    t_thread = &other;
    Fiber::hand_over(*other.fiber);
  }
  if (seen) extension->watched_goes_on();
}

void Block::wait(Thread& thread, Thread::State state, const char* operation, const Where& where) {
  thread.operation = operation;
  thread.where = where;
  thread.state = state;
  suspend(thread);
}

void Block::release(Thread& thread) {
  thread.state = Thread::State::kReady;
  if (warp_first_)
    ready_.push_front(&thread);
  else
    ready_.push_back(&thread);
}

std::string Block::place(const Thread& thread) const {
  return concat("kernel ", call.name, ", block ", text(index), ", thread ", text(thread.index));
}

void Block::fail(const std::string& what, const Where& where) {
  report_ = concat(place(current_thread()), ", ", describe(where), ": ", what);
  throw GivenUp{};
}

void Block::note_exception(const std::string& what) {
  report_ = concat(place(current_thread()), ": exception in device code: ", what);
}

void Block::meet_warp(const char* operation, std::uint32_t mask, void* arguments,
                      void (*complete)(const Lanes&), const Where& where) {
  Thread& self = current_thread();
  const unsigned first = self.linear - self.lane();
  if (!(mask >> self.lane() & 1))
    fail(concat(operation, " with a mask, ", mask, ", that leaves out the caller"), where);
  Warp& warp = warps_[self.linear / kWarpSize];
  if (const std::uint32_t missing = mask & warp.gone)
    fail(concat(operation, ": lane ", std::countr_zero(missing),
                " is in the mask but has exited, or the block ends before it"),
         where);
  const auto compare = [&](unsigned lane) {
    const Thread& other = *threads_[first + lane];
    if ((other.operation == operation || std::strcmp(other.operation, operation) == 0) &&
        other.mask == mask && other.where.line() == where.line())
      return;
    fail(concat("lanes diverge: lane ", self.lane(), " is at ", operation, " (", describe(where),
                ", mask ", mask, "), lane ", lane, " at ", other.operation, " (",
                describe(other.where), ", mask ", other.mask, ")"),
         where);
  };
  // Whoever waits has been compared with all before it, so one of the mask is enough; and others
  // may wait for this lane.
  if (const std::uint32_t waiting = mask & warp.waiting)
    compare(static_cast<unsigned>(std::countr_zero(waiting)));
  for (std::uint32_t others = warp.waiting & ~mask; others != 0; others &= others - 1) {
    const auto lane = static_cast<unsigned>(std::countr_zero(others));
    if (threads_[first + lane]->mask >> self.lane() & 1) compare(lane);
  }
  self.mask = mask;
  self.arguments = arguments;
  if (((warp.waiting | 1u << self.lane()) & mask) != mask) {
    warp.waiting |= 1u << self.lane();
    return wait(self, Thread::State::kWarp, operation, where);
  }
  warp.waiting &= ~mask;
  Lanes lanes{mask, {}};
  for (unsigned lane = 0; lane < kWarpSize; ++lane)
    if (mask >> lane & 1) lanes.arguments[lane] = threads_[first + lane]->arguments;
  complete(lanes);
  for (unsigned lane = 0; lane < kWarpSize; ++lane)
    if ((mask >> lane & 1) && lane != self.lane()) release(*threads_[first + lane]);
}

void Block::finish_barrier(unsigned id) {
  if (extension) extension->passing();
  barriers_[id] = {};
  for (unsigned linear : order_) {
    Thread& thread = *threads_[linear];
    if (thread.state == Thread::State::kBarrier && thread.barrier == id) release(thread);
  }
}

// Counts the caller in; the barrier is complete when all that were waiting can go on.
void Block::join_barrier(unsigned id, unsigned threads, bool all, const Where& where) {
  if (id >= kBarriers) fail(concat("barrier ", id, " of ", kBarriers), where);
  Barrier& barrier = barriers_[id];
  if (!barrier.open) {
    barrier = {true, all, threads, 0, where};
  } else if (barrier.all != all || (!all && barrier.expected != threads)) {
    fail(concat("barrier ", id, " of ", threads, " threads; others wait at it for ",
                barrier.expected, " (", describe(barrier.first), ")"),
         where);
  }
  ++barrier.arrived;
}

void Block::sync_threads(const Where& where) {
  Thread& self = current_thread();
  join_barrier(0, live_, true, where);
  Barrier& barrier = barriers_[0];
  if (barrier.first.line() != where.line())
    fail(concat("threads diverge: this one is at __syncthreads in ", describe(where),
                ", others at the one in ", describe(barrier.first)),
         where);
  if (barrier.arrived == live_) return finish_barrier(0);
  self.barrier = 0;
  wait(self, Thread::State::kBarrier, "__syncthreads", where);
}

void Block::sync_named(unsigned id, unsigned threads, const Where& where) {
  Thread& self = current_thread();
  if (threads == 0 || threads % kWarpSize != 0)
    fail(concat("barrier of ", threads, " threads: no multiple of a warp"), where);
  join_barrier(id, threads, false, where);
  if (barriers_[id].arrived == threads) return finish_barrier(id);
  self.barrier = id;
  wait(self, Thread::State::kBarrier, "bar.sync", where);
}

void Block::arrive_named(unsigned id, unsigned threads, const Where& where) {
  if (threads == 0 || threads % kWarpSize != 0)
    fail(concat("barrier of ", threads, " threads: no multiple of a warp"), where);
  join_barrier(id, threads, false, where);
  if (barriers_[id].arrived == threads) finish_barrier(id);
}

void Block::wait_until(const char* operation, std::function<bool()> ready, const Where& where) {
  if (ready()) return;
  Thread& self = current_thread();
  self.poll = std::move(ready);
  wait(self, Thread::State::kPoll, operation, where);
}

void Block::yield() {
  Thread& self = current_thread();
  self.state = Thread::State::kReady;
  ready_.push_back(&self);
  suspend(self);
}

void Block::notify() {
  if (wake_at_once_) wake_polls();
}

bool Block::wake_polls() {
  for (unsigned linear : order_) {
    Thread& thread = *threads_[linear];
    if (thread.state == Thread::State::kPoll && thread.poll()) release(thread);
  }
  return !ready_.empty();
}

// __syncthreads and the warp's operations must not wait for a thread that is gone.
void Block::thread_ended(Thread& thread) {
  bool copying = !thread.open_copies.empty();
  for (const auto& group : thread.copy_groups) copying = copying || !group.empty();
  if (copying)
    report_ =
        concat(place(thread), ": ended with copies to its shared memory under way (cp_async_wait)");
  --live_;
  Barrier& barrier = barriers_[0];
  if (barrier.open && barrier.all && barrier.arrived == live_) finish_barrier(0);
  Warp& warp = warps_[thread.linear / kWarpSize];
  warp.gone |= 1u << thread.lane();
  for (std::uint32_t waiting = warp.waiting; waiting != 0; waiting &= waiting - 1) {
    const Thread& other =
        *threads_[thread.linear - thread.lane() + static_cast<unsigned>(std::countr_zero(waiting))];
    if (!(other.mask >> thread.lane() & 1)) continue;
    report_ = concat(place(other), ", ", describe(other.where), ": ", other.operation, ": lane ",
                     thread.lane(), " is in the mask but has exited");
    return;
  }
}

// One line per run of threads that wait at the same place.
std::string Block::who_waits() const {
  std::string text;
  const auto key = [&](unsigned i) -> std::string {
    const Thread& thread = *threads_[i];
    if (thread.state == Thread::State::kDone) return "exited";
    std::string name = thread.operation;
    if (thread.state == Thread::State::kBarrier && !barriers_[thread.barrier].all) {
      const Barrier& barrier = barriers_[thread.barrier];
      name +=
          concat(" ", thread.barrier, ", ", barrier.arrived, " of ", barrier.expected, " arrived,");
    }
    return concat("at ", name, " in ", describe(thread.where));
  };
  for (unsigned begin = 0; begin < threads_.size();) {
    unsigned end = begin + 1;
    const std::string what = key(begin);
    while (end < threads_.size() && key(end) == what) ++end;
    text += concat("\n  thread ", begin);
    if (end - begin > 1) text += concat(" to ", end - 1);
    text += " " + what;
    begin = end;
  }
  return text;
}

void Block::deadlock() {
  throw Fault{concat("kernel ", call.name, ", block ", text(index),
                     ": deadlock, every thread waits:", who_waits())};
}

void* Block::static_shared(const void* place, std::size_t bytes, std::size_t alignment,
                           const Where& where) {
  for (const Static& known : declared_)
    if (known.place == place) return known.data;
  const auto up = [](std::size_t n, std::size_t multiple) {
    return (n + multiple - 1) / multiple * multiple;
  };
  static_bytes_ = up(static_bytes_, alignment) + bytes;
  const std::size_t begin = up(statics_taken_ + kMargin, std::max<std::size_t>(alignment, 16));
  if (static_bytes_ + call.shared_bytes > call.shared_limit ||
      begin + bytes + kMargin > kStaticsBytes)
    fail(concat("static shared memory of ", static_bytes_, " bytes and ", call.shared_bytes,
                " dynamic ones are more than ", call.shared_limit),
         where);
  statics_taken_ = begin + bytes;
  ASAN_UNPOISON_MEMORY_REGION(statics_ + begin, bytes);
  std::memset(statics_ + begin, 0xFF, bytes);
  declared_.push_back({place, statics_ + begin});
  return statics_ + begin;
}

void Block::bad_address(std::uint32_t address, std::size_t bytes, std::size_t alignment,
                        const Where& where) {
  const auto offset = static_cast<std::int64_t>(address) - kSharedBase;
  const auto end = static_cast<std::int64_t>(call.shared_bytes);
  if (offset < 0 || offset + static_cast<std::int64_t>(bytes) > end)
    fail(concat("shared address ", offset, " + ", bytes, " bytes is outside the ", end,
                " bytes of the launch"),
         where);
  fail(concat("shared address ", offset, " is not a multiple of ", alignment), where);
}

std::uint32_t Block::address_of(const void* pointer, const Where& where) {
  const auto* byte = static_cast<const std::byte*>(pointer);
  // One past the end is an address, too: of nothing.
  if (byte < shared() || byte > shared() + call.shared_bytes)
    fail("the shared-space address of memory that is not in the block's dynamic shared memory",
         where);
  return kSharedBase + static_cast<std::uint32_t>(byte - shared());
}

}  // namespace seq1f1b::simt
