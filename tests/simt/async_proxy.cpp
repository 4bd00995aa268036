#include "tests/simt/async_proxy.h"

#include <algorithm>
#include <cstring>

#include "kernels/common/bf16.h"
#include "kernels/common/errors.h"

namespace seq1f1b::simt {
namespace {

using kernels::Bf16;

// What a barrier's eight bytes hold here: kernels must not look at them, nor write them.
constexpr std::uint64_t kBarrierMark = 0x6d62617272696572;

float value(std::uint32_t pair, int half) {
  Bf16 element;
  element.bits = static_cast<std::uint16_t>(pair >> (16 * half));
  return static_cast<float>(element);
}

// Bytes that a barrier can expect at once: PTX ISA manual, "Tracking asynchronous operations by the
// mbarrier object".
constexpr std::int64_t kMostBytes = (1 << 20) - 1;

// Registers per thread of a launch of `threads` that a multiprocessor holds one of: all there are,
// in eights, at most 255 (CUDA C++ Programming Guide, "Compute Capabilities"). What ptxas takes for
// kernels that call setmaxnreg.
int registers_at_launch(unsigned threads) {
  return static_cast<int>(std::min(65536 / threads / 8 * 8, 255u));
}

// Matrix descriptors: PTX ISA manual, "Matrix Descriptor Format" and "Strides".
struct Descriptor {
  std::uint32_t address, leading_bytes, stride_bytes;
  explicit Descriptor(std::uint64_t bits)
      : address(static_cast<std::uint32_t>(bits & 0x3fff) << 4),
        leading_bytes(static_cast<std::uint32_t>(bits >> 16 & 0x3fff) << 4),
        stride_bytes(static_cast<std::uint32_t>(bits >> 32 & 0x3fff) << 4) {}
  static bool swizzled_128(std::uint64_t bits) { return bits >> 62 == 1; }
  // `outer`: row of a or column of b; `inner` < 16. With the 128-byte swizzle, eight rows of 128
  // bytes are one atom; atoms follow each other by the stride; the leading offset leads from 64
  // elements to the next 64 where these run along the outer dimension. The swizzle is a function
  // of the address.
  std::uint32_t element(std::uint32_t outer, std::uint32_t inner, bool along_outer) const {
    const std::uint32_t logical =
        along_outer ? address + outer / 64 * leading_bytes + inner / 8 * stride_bytes +
                          inner % 8 * 128 + outer % 64 * 2
                    : address + outer / 8 * stride_bytes + outer % 8 * 128 + inner * 2;
    return logical ^ (logical >> 7 & 7) << 4;
  }
};

// A lane at a product or at a wait for products.
struct ProductCall {
  AsyncProxy* proxy;
  unsigned linear;
  std::size_t pending;
};

}  // namespace

// At first the proxy has seen what every block begins with.
AsyncProxy::AsyncProxy(Block& block)
    : block_(block),
      registers_((block.threads() + kWarpSize - 1) / kWarpSize,
                 registers_at_launch(block.threads())),
      seen_(block.call.shared_bytes, std::byte{0xFF}),
      random_(block.draw()),
      loads_land_early_(draw()) {}

AsyncProxy& AsyncProxy::get() {
  Block& block = current_block();
  if (!block.extension) block.extension = std::make_unique<AsyncProxy>(block);
  return static_cast<AsyncProxy&>(*block.extension);
}

AsyncProxy::PerThread& AsyncProxy::mine() { return threads_[current_thread().linear]; }

// Writes memory and what the proxy has seen of it.
void AsyncProxy::both(std::uint32_t shared, const void* from, int fill, std::size_t bytes) {
  const std::size_t offset = shared - kSharedBase;
  for (std::byte* to : {block_.shared() + offset, seen_.data() + offset}) {
    if (from)
      std::memcpy(to, from, bytes);
    else
      std::memset(to, fill, bytes);
  }
}

const std::byte* AsyncProxy::visible(std::uint32_t shared, std::size_t bytes, const Where& where) {
  const std::byte* memory = block_.at(shared, bytes, 1, where);
  if (std::memcmp(memory, seen_.data() + (shared - kSharedBase), bytes) != 0)
    block_.fail("reads shared memory that was written without fence_proxy_async", where);
  return memory;
}

void AsyncProxy::fence() { std::memcpy(seen_.data(), block_.shared(), seen_.size()); }

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
  for (const Piece& piece : pieces) {
    block_.at(piece.shared, piece.bytes, 1, where);
    both(piece.shared, nullptr, 0xFF, piece.bytes);
    bytes += piece.bytes;
  }
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
  for (const auto& [linear, thread] : threads_) {
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

// ---- products

void AsyncProxy::fence_products(const Where& where) {
  block_.meet_warp(
      "wgmma_fence", ~0u, this, [](const Lanes&) {}, where);
  mine().fenced = true;
}

// d is NaN from here to the wait; what it held is kept with the first product that has it.
void AsyncProxy::multiply(Product product) {
  PerThread& thread = mine();
  // A fence stands between any use of a product's registers by plain code, which begins at a wait,
  // and the next product.
  if (!thread.fenced)
    block_.fail("wgmma without wgmma_fence since the start or the last wgmma_wait", product.where);
  for (const std::uint64_t bits : {product.a_registers ? product.b : product.a, product.b})
    if (!Descriptor::swizzled_128(bits) || (bits >> 49 & 7) != 0)
      block_.fail("a matrix descriptor of another kind than 128-byte swizzle, base offset 0",
                  product.where);
  bool held = false;
  const auto holds = [&](const Product& other) { held = held || other.d == product.d; };
  for (const Product& other : thread.open_products) holds(other);
  for (const auto& group : thread.products)
    for (const Product& other : group) holds(other);
  const auto numbers = static_cast<std::size_t>(product.columns / 2);
  if (!held) {
    product.before.assign(product.d, product.d + numbers);
    std::memset(product.d, 0xFF, numbers * sizeof(float));
  }
  const Where where = product.where;
  thread.open_products.push_back(std::move(product));
  ProductCall call{this, current_thread().linear, 0};
  block_.meet_warp("wgmma", ~0u, &call, &AsyncProxy::complete_issue, where);
}

void AsyncProxy::complete_issue(const Lanes& lanes) {
  const auto& first = *static_cast<const ProductCall*>(lanes.arguments[0]);
  AsyncProxy& proxy = *first.proxy;
  Product& product = proxy.threads_[first.linear].open_products.back();
  if (!product.a_registers) product.group_a = proxy.group_a(product);
  if (!proxy.draw()) return;
  product.read = std::make_unique<ProductOperands>();
  proxy.read_operands(product, *product.read);
}

void AsyncProxy::commit_products(const Where& where) {
  PerThread& thread = mine();
  thread.products.push_back(std::move(thread.open_products));
  thread.open_products.clear();
  block_.meet_warp(
      "wgmma_commit", ~0u, this, [](const Lanes&) {}, where);
}

void AsyncProxy::wait_products(std::size_t pending, const Where& where) {
  ProductCall call{this, current_thread().linear, pending};
  block_.meet_warp("wgmma_wait", ~0u, &call, &AsyncProxy::complete_products, where);
}

// All lanes of a warp come with the same products, one group after the other.
void AsyncProxy::complete_products(const Lanes& lanes) {
  const auto& first = *static_cast<const ProductCall*>(lanes.arguments[0]);
  AsyncProxy& proxy = *first.proxy;
  std::array<PerThread*, kWarpSize> threads;
  for (unsigned lane = 0; lane < kWarpSize; ++lane)
    threads[lane] = &proxy.threads_[static_cast<const ProductCall*>(lanes.arguments[lane])->linear];
  for (PerThread* thread : threads) thread->fenced = false;
  while (threads[0]->products.size() > first.pending) {
    for (std::size_t i = 0; i < threads[0]->products.front().size(); ++i) {
      std::array<Product*, kWarpSize> call;
      for (unsigned lane = 0; lane < kWarpSize; ++lane)
        call[lane] = &threads[lane]->products.front()[i];
      proxy.run_products(call);
    }
    for (PerThread* thread : threads) {
      const std::vector<Product> done = std::move(thread->products.front());
      thread->products.pop_front();
      // Where younger products go on with a d, it stays out of sight.
      for (const Product& product : done) {
        Product* next = nullptr;
        const auto find = [&](Product& other) {
          if (!next && other.d == product.d) next = &other;
        };
        for (auto& group : thread->products)
          for (Product& other : group) find(other);
        for (Product& other : thread->open_products) find(other);
        if (!next || !next->before.empty()) continue;
        const auto numbers = static_cast<std::size_t>(product.columns / 2);
        next->before.assign(product.d, product.d + numbers);
        std::memset(product.d, 0xFF, numbers * sizeof(float));
      }
    }
  }
}

// The 64 rows of a product's a in shared memory, as bits.
std::vector<std::uint16_t> AsyncProxy::group_a(const Product& product) {
  std::vector<std::uint16_t> bits(64 * 16);
  for (std::uint32_t i = 0; i < bits.size(); ++i)
    std::memcpy(&bits[i],
                block_.at(Descriptor(product.a).element(i / 16, i % 16, product.a_outer), 2, 2,
                          product.where),
                2);
  return bits;
}

// Of the 16 rows of the running thread's warp.
void AsyncProxy::read_operands(const Product& product, ProductOperands& operands) {
  const std::uint32_t warp = current_thread().linear / kWarpSize % 4;
  const auto read = [&](const Descriptor& descriptor, std::uint32_t outer, std::uint32_t inner,
                        bool along_outer) {
    Bf16 element;
    std::memcpy(&element.bits,
                visible(descriptor.element(outer, inner, along_outer), 2, product.where), 2);
    return static_cast<float>(element);
  };
  if (!product.a_registers)
    for (std::uint32_t row = 0; row < 16; ++row)
      for (std::uint32_t k = 0; k < 16; ++k)
        operands.a[row][k] = read(Descriptor(product.a), 16 * warp + row, k, product.a_outer);
  for (std::uint32_t column = 0; column < static_cast<std::uint32_t>(product.columns); ++column)
    for (std::uint32_t k = 0; k < 16; ++k)
      operands.b[k][column] = read(Descriptor(product.b), column, k, product.b_outer);
}

// The 16 rows of one warp.
void AsyncProxy::run_products(const std::array<Product*, kWarpSize>& lanes) {
  const Product& first = *lanes[0];
  const auto columns = static_cast<std::uint32_t>(first.columns);
  static thread_local ProductOperands late;
  static thread_local float d[16][256];
  ProductOperands& operands = first.read ? *first.read : late;
  if (!first.read) read_operands(first, operands);
  if (!first.a_registers && group_a(first) != first.group_a)
    block_.fail("an operand of wgmma changed between its issue and wgmma_wait", first.where);
  auto& [a, b] = operands;
  for (unsigned lane = 0; lane < kWarpSize; ++lane) {
    Product& product = *lanes[lane];
    if (product.a != first.a || product.b != first.b || product.columns != first.columns ||
        (product.a_registers == nullptr) != (first.a_registers == nullptr))
      block_.fail("lanes of a warp give different operands to wgmma", product.where);
    if (!product.before.empty())
      std::memcpy(product.d, product.before.data(), product.before.size() * sizeof(float));
    const unsigned g = lane / 4, t = lane % 4;
    for (std::uint32_t j = 0; j < columns / 8; ++j)
      for (unsigned i = 0; i < 4; ++i)
        d[g + 8 * (i / 2)][8 * j + 2 * t + i % 2] = product.add ? product.d[4 * j + i] : 0.0f;
    if (product.a_registers)
      for (unsigned i = 0; i < 4; ++i)
        for (int half = 0; half < 2; ++half)
          a[g + 8 * (i % 2)][2 * t + 8 * (i / 2) + static_cast<unsigned>(half)] =
              value(product.a_registers[i], half);
  }
  for (unsigned row = 0; row < 16; ++row)
    for (unsigned k = 0; k < 16; ++k)
      for (std::uint32_t column = 0; column < columns; ++column)
        d[row][column] += a[row][k] * b[k][column];
  for (unsigned lane = 0; lane < kWarpSize; ++lane) {
    const unsigned g = lane / 4, t = lane % 4;
    for (std::uint32_t j = 0; j < columns / 8; ++j)
      for (unsigned i = 0; i < 4; ++i)
        lanes[lane]->d[4 * j + i] = d[g + 8 * (i / 2)][8 * j + 2 * t + i % 2];
  }
}

}  // namespace seq1f1b::simt
