#include "kernels/simt/async_proxy.h"

#include <algorithm>
#include <cstring>

#include "kernels/common/errors.h"

namespace seq1f1b::simt {
namespace {

// What a barrier's eight bytes hold here: kernels must not look at them, nor write them.
constexpr std::uint64_t kBarrierMark = 0x6d62617272696572;

// Bytes that a barrier can expect at once: PTX ISA manual, "Tracking asynchronous operations by the
// mbarrier object".
constexpr std::int64_t kMostBytes = (1 << 20) - 1;

// Registers per thread of a launch of `threads` that a multiprocessor holds one of: all there are,
// in eights, at most 255 (CUDA C++ Programming Guide, "Compute Capabilities"). What ptxas takes for
// kernels that call setmaxnreg.
int registers_at_launch(unsigned threads) {
  return static_cast<int>(std::min(65536 / threads / 8 * 8, 255u));
}

}  // namespace

// At first the proxy has seen what every block begins with.
AsyncProxy::AsyncProxy(Block& block)
    : block_(block),
      registers_((block.threads() + kWarpSize - 1) / kWarpSize,
                 registers_at_launch(block.threads())),
      threads_(block.threads()),
      seen_(block.call.shared_bytes, std::byte{0xFF}),
      random_(block.draw()),
      loads_land_early_(draw()) {
  const std::uint64_t choice = next_random(random_);
  if (choice % 4 != 0) return;
  block_.watch(static_cast<unsigned>((choice >> 8) % threads_.size()));
  unfenced_.resize(seen_.size());
  watched_goes_on();
}

AsyncProxy& AsyncProxy::get() {
  Block& block = current_block();
  if (!block.extension) block.extension = std::make_unique<AsyncProxy>(block);
  return static_cast<AsyncProxy&>(*block.extension);
}

AsyncProxy::PerThread& AsyncProxy::mine() { return threads_[current_thread().linear]; }

// Writes memory and what the proxy has seen of it.
void AsyncProxy::both(std::uint32_t shared, const void* from, int fill, std::size_t bytes) {
  const std::size_t offset = shared - kSharedBase;
  const auto write = [&](std::byte* to) {
    if (from)
      std::memcpy(to, from, bytes);
    else
      std::memset(to, fill, bytes);
  };
  write(block_.shared() + offset);
  write(seen_.data() + offset);
  if (!block_.watched) return;
  write(before_.data() + offset);
  for (std::size_t i = offset; unfenced_bytes_ > 0 && i < offset + bytes; ++i) {
    unfenced_bytes_ -= unfenced_[i];
    unfenced_[i] = 0;
  }
}

const std::byte* AsyncProxy::visible(std::uint32_t shared, std::size_t bytes, const Where& where) {
  const std::byte* memory = block_.at(shared, bytes, 1, where);
  const std::size_t offset = shared - kSharedBase;
  if (fenced_) see_all();
  if (std::memcmp(memory, seen_.data() + offset, bytes) != 0)
    block_.fail("reads shared memory that was written without fence_proxy_async", where);
  for (std::size_t i = offset; unfenced_bytes_ > 0 && i < offset + bytes; ++i)
    if (unfenced_[i] && block_.shared()[i] == before_[i])
      block_.fail(concat("reads shared memory that thread ", block_.watched->linear,
                         " wrote without a fence_proxy_async of its own"),
                  where);
  return memory;
}

void AsyncProxy::fence() {
  fenced_ = true;
  if (&current_thread() != block_.watched) return;
  std::fill(unfenced_.begin(), unfenced_.end(), std::uint8_t{0});
  unfenced_bytes_ = 0;
  watched_goes_on();
}

// What a fence makes visible is looked at when it matters: all that write and fence before the same
// barrier cost one copy.
void AsyncProxy::see_all() {
  fenced_ = false;
  std::memcpy(seen_.data(), block_.shared(), seen_.size());
}
void AsyncProxy::passing() {
  if (fenced_) see_all();
}

void AsyncProxy::watched_stops() {
  const std::byte* const now = block_.shared();
  constexpr std::size_t kChunk = 256;
  for (std::size_t begin = 0; begin < before_.size(); begin += kChunk) {
    const std::size_t bytes = std::min(kChunk, before_.size() - begin);
    if (std::memcmp(now + begin, before_.data() + begin, bytes) == 0) continue;
    for (std::size_t i = begin; i < begin + bytes; ++i) {
      if (now[i] == before_[i]) continue;
      before_[i] = now[i];
      unfenced_bytes_ += 1u - unfenced_[i];
      unfenced_[i] = 1;
    }
  }
}

void AsyncProxy::watched_goes_on() {
  // What others have overwritten is theirs.
  for (auto at = unfenced_.begin(); unfenced_bytes_ > 0; ++at) {
    at = std::find(at, unfenced_.end(), std::uint8_t{1});
    if (at == unfenced_.end()) break;
    const auto i = static_cast<std::size_t>(at - unfenced_.begin());
    if (block_.shared()[i] == before_[i]) continue;
    *at = 0;
    --unfenced_bytes_;
  }
  before_.assign(block_.shared(), block_.shared() + seen_.size());
}

// ---- registers

bool AsyncProxy::take_registers(unsigned warp, int count) {
  const int wanted = count - registers_[warp];
  if (wanted > spare_registers_) return false;
  spare_registers_ -= wanted;
  registers_[warp] = count;
  return true;
}

void AsyncProxy::set_registers(int count, bool more, const Where& where) {
  const unsigned warp = current_thread().linear / kWarpSize;
  const int before = registers_[warp];
  if (more ? count < before : count > before)
    block_.fail(concat("setmaxnreg to ", more ? "more" : "fewer", " registers, but from ", before,
                       " to ", count),
                where);
  block_.meet_warp(
      "setmaxnreg", ~0u, this, [](const Lanes&) {}, where);
  // The first lane here takes or gives for its warp.
  block_.wait_until(
      "setmaxnreg", [=, this] { return take_registers(warp, count); }, where);
  if (!more) block_.notify();
}

// ---- barriers

SharedBarrier& AsyncProxy::barrier_at(std::uint32_t shared, const Where& where) {
  std::uint64_t mark;
  std::memcpy(&mark, block_.at(shared, 8, 8, where), sizeof mark);
  const auto found = barriers_.find(shared);
  if (found == barriers_.end())
    block_.fail(concat("no barrier was initialised at shared address ", shared - kSharedBase),
                where);
  if (mark != kBarrierMark) block_.fail("the barrier's bytes were overwritten", where);
  return found->second;
}

void AsyncProxy::init_barrier(std::uint32_t shared, int count, const Where& where) {
  if (count < 1 || count >= 1 << 20)
    block_.fail(concat("a barrier of ", count, " arrivals"), where);
  std::memcpy(block_.at(shared, 8, 8, where), &kBarrierMark, sizeof kBarrierMark);
  barriers_[shared] = {static_cast<unsigned>(count), static_cast<unsigned>(count), 0, 0, false};
}

void AsyncProxy::fence_init() {
  for (auto& [address, barrier] : barriers_) barrier.fenced = true;
}

void AsyncProxy::check_complete(SharedBarrier& barrier) {
  if (barrier.pending > 0 || barrier.bytes != 0) return;
  passing();
  ++barrier.phase;
  barrier.pending = barrier.count;
  block_.notify();
}

void AsyncProxy::arrive(std::uint32_t shared, int bytes, const Where& where) {
  SharedBarrier& barrier = barrier_at(shared, where);
  if (barrier.pending == 0)
    block_.fail(concat("more than the ", barrier.count, " arrivals of a phase"), where);
  barrier.bytes += bytes;
  if (barrier.bytes > kMostBytes)
    block_.fail(concat("a barrier that expects ", barrier.bytes, " bytes, more than ", kMostBytes),
                where);
  --barrier.pending;
  check_complete(barrier);
}

void AsyncProxy::wait_barrier(std::uint32_t shared, int parity, const Where& where) {
  SharedBarrier& barrier = barrier_at(shared, where);
  block_.wait_until(
      "mbarrier_wait",
      [&barrier, parity] { return barrier.phase % 2 != static_cast<unsigned>(parity); }, where);
}

// ---- loads

void AsyncProxy::load(std::vector<Piece> pieces, std::uint32_t barrier, const Where& where) {
  if (!barrier_at(barrier, where).fenced)
    block_.fail("the barrier's initialisation was not fenced (fence_mbarrier_init)", where);
  std::uint32_t bytes = 0;
  std::uint32_t first = ~0u, end = 0;
  for (const Piece& piece : pieces) {
    block_.at(piece.shared, piece.bytes, 1, where);
    first = std::min(first, piece.shared);
    end = std::max(end, piece.shared + piece.bytes);
    bytes += piece.bytes;
  }
  // Usually they are all bytes of a range.
  if (end - first == bytes)
    both(first, nullptr, 0xFF, bytes);
  else
    for (const Piece& piece : pieces) both(piece.shared, nullptr, 0xFF, piece.bytes);
  Load load{std::move(pieces), barrier, bytes};
  if (loads_land_early_ && draw())
    land(load);
  else
    loads_.push_back(std::move(load));
}

void AsyncProxy::land(const Load& load) {
  for (const Piece& piece : load.pieces) both(piece.shared, piece.global, 0, piece.bytes);
  SharedBarrier& barrier = barriers_[load.barrier];
  barrier.bytes -= load.bytes;
  check_complete(barrier);
}

bool AsyncProxy::progress() {
  if (loads_.empty()) return false;
  const std::size_t i = next_random(random_) % loads_.size();
  const Load load = std::move(loads_[i]);
  loads_.erase(loads_.begin() + static_cast<std::ptrdiff_t>(i));
  land(load);
  return true;
}

std::string AsyncProxy::at_end() {
  if (!loads_.empty()) return "ended with loads to its shared memory under way";
  for (const auto& [address, barrier] : barriers_)
    if (barrier.bytes != 0)
      return concat("ended with ", barrier.bytes,
                    " bytes more expected than loaded at the barrier ", address - kSharedBase);
  for (std::size_t linear = 0; linear < threads_.size(); ++linear) {
    const PerThread& thread = threads_[linear];
    if (!thread.open_stores.empty() || !thread.stores.empty())
      return concat("ended before the stores of thread ", linear,
                    " had read its shared memory (bulk_commit, bulk_wait_read)");
    if (!thread.open_products.empty() || !thread.products.empty())
      return concat("ended with products of thread ", linear, " under way");
  }
  return {};
}

// ---- stores

void AsyncProxy::store(std::vector<Target> targets, Store kind, const Where& where) {
  const bool early = draw();
  std::vector<std::byte> read;
  if (&current_thread() == block_.watched) watched_stops();
  for (const Target& target : targets) {
    const std::byte* from = visible(target.shared, target.bytes, where);
    if (early) read.insert(read.end(), from, from + target.bytes);
  }
  mine().open_stores.push_back({std::move(targets), kind, std::move(read)});
}

void AsyncProxy::commit_stores() {
  PerThread& thread = mine();
  thread.stores.push_back(std::move(thread.open_stores));
  thread.open_stores.clear();
}

void AsyncProxy::wait_stores(std::size_t pending) {
  PerThread& thread = mine();
  for (; thread.stores.size() > pending; thread.stores.pop_front())
    for (const StoreCall& call : thread.stores.front()) {
      std::size_t at = 0;  // in what was read
      for (const Target& target : call.targets) {
        const std::byte* from = call.read.empty() ? block_.shared() + (target.shared - kSharedBase)
                                                  : call.read.data() + at;
        at += target.bytes;
        if (!target.global) continue;
        if (call.kind == Store::kCopy) {
          std::memcpy(target.global, from, target.bytes);
          continue;
        }
        for (std::uint32_t i = 0; i < target.bytes / 4; ++i) {
          float addend;
          std::memcpy(&addend, from + 4 * i, sizeof addend);
          static_cast<float*>(target.global)[i] += addend;
        }
      }
    }
}

}  // namespace seq1f1b::simt
