#include "kernels/simt/async_proxy.h"

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

// A product's 16 inner elements of `count` outer ones, of which the first and `count` are divisible
// by 8: what `bytes(address)` finds at 16-byte chunks, to `put(outer, inner, bits)`.
template <class Bytes, class Put>
void for_elements(const Descriptor& descriptor, bool along_outer, std::uint32_t first,
                  std::uint32_t count, const Bytes& bytes, const Put& put) {
  std::uint16_t chunk[8];
  const auto read = [&](std::uint32_t outer, std::uint32_t inner) {
    std::memcpy(chunk, bytes(descriptor.element(outer, inner, along_outer)), sizeof chunk);
  };
  if (along_outer) {
    for (std::uint32_t inner = 0; inner < 16; ++inner)
      for (std::uint32_t outer = 0; outer < count; outer += 8) {
        read(first + outer, inner);
        for (std::uint32_t i = 0; i < 8; ++i) put(outer + i, inner, chunk[i]);
      }
  } else {
    for (std::uint32_t outer = 0; outer < count; ++outer)
      for (std::uint32_t inner = 0; inner < 16; inner += 8) {
        read(first + outer, inner);
        for (std::uint32_t i = 0; i < 8; ++i) put(outer, inner + i, chunk[i]);
      }
  }
}

// d += a b. Plain arithmetic, of which the sanitizers need not see each step.
[[gnu::no_sanitize("address", "undefined")]] void multiply_add(const ProductOperands& operands,
                                                               float (&d)[16][256],
                                                               std::uint32_t columns) {
  for (unsigned row = 0; row < 16; ++row)
    for (unsigned k = 0; k < 16; ++k) {
      const float factor = operands.a[row][k];
      for (std::uint32_t column = 0; column < columns; column += 8)
        for (unsigned i = 0; i < 8; ++i) d[row][column + i] += factor * operands.b[k][column + i];
    }
}

// Registers may have gone out of scope since a product used them: no sanitizer looks here.
[[gnu::no_sanitize("address", "undefined")]] void copy_registers(std::vector<float>& to,
                                                                 const float* from,
                                                                 std::size_t count) {
  to.resize(count);
  float* const place = to.data();
  const volatile float* const registers = from;  // else the compiler makes it a call of memcpy
  for (std::size_t i = 0; i < count; ++i) place[i] = registers[i];
}

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

// ---- products

void AsyncProxy::fence_products(const Where& where) {
  block_.meet_warp(
      "wgmma_fence", ~0u, this, [](const Lanes&) {}, where);
  PerThread& thread = mine();
  thread.fenced = true;
  const auto in_flight = [&](const float* registers) {
    for (const Product& product : thread.open_products)
      if (product.d == registers) return true;
    for (const auto& group : thread.products)
      for (const Product& product : group)
        if (product.d == registers) return true;
    return false;
  };
  for (Registers& known : thread.registers)
    if (in_flight(known.begin))
      known.at_fence.clear();
    else
      copy_registers(known.at_fence, known.begin, known.count);
}

void AsyncProxy::check_registers(PerThread& thread, const float* begin, std::size_t count,
                                 const Where& where) {
  for (Registers& known : thread.registers) {
    if (known.begin != begin) continue;
    if (known.at_fence.size() == count &&
        std::memcmp(known.at_fence.data(), begin, count * sizeof(float)) != 0)
      block_.fail("wgmma of registers that were written after the last wgmma_fence", where);
    known.count = count;
    return;
  }
  thread.registers.push_back({begin, count, {}});
}

// d is NaN from here to the wait; what it held is kept with the first product that has it.
void AsyncProxy::multiply(Product product) {
  PerThread& thread = mine();
  // A fence stands between any use of a product's registers by plain code, which begins at a wait,
  // and the next product.
  if (!thread.fenced)
    block_.fail("wgmma without wgmma_fence since the start or the last wgmma_wait", product.where);
  const auto check_descriptor = [&](std::uint64_t bits, bool along_outer) {
    if (!Descriptor::swizzled_128(bits) || (bits >> 49 & 7) != 0)
      block_.fail("a matrix descriptor of another kind than 128-byte swizzle, base offset 0",
                  product.where);
    // The pattern of a base offset of 0 begins at such a multiple (PTX ISA manual, "Matrix
    // Descriptor Format"); of its first row 16 elements may be anywhere, 64 must be the whole.
    if (Descriptor(bits).address % 1024 > (along_outer ? 0 : 128 - 32))
      block_.fail("an operand of wgmma that begins within the eight rows of 1024 bytes",
                  product.where);
  };
  if (!product.a_registers) check_descriptor(product.a, product.a_outer);
  check_descriptor(product.b, product.b_outer);
  bool held = false;
  const auto holds = [&](const Product& other) { held = held || other.d == product.d; };
  for (const Product& other : thread.open_products) holds(other);
  for (const auto& group : thread.products)
    for (const Product& other : group) holds(other);
  const auto numbers = static_cast<std::size_t>(product.columns / 2);
  if (product.a_registers)
    check_registers(thread, reinterpret_cast<const float*>(product.a_registers), 4, product.where);
  if (!held) {
    check_registers(thread, product.d, numbers, product.where);
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

// The 64 rows of a product's a in shared memory.
std::vector<std::byte> AsyncProxy::group_a(const Product& product) {
  std::vector<std::byte> bytes;
  bytes.reserve(64 * 16 * 2);
  for_elements(
      Descriptor(product.a), product.a_outer, 0, 64,
      [&](std::uint32_t address) {
        const std::byte* const chunk = block_.at(address, 16, 16, product.where);
        bytes.insert(bytes.end(), chunk, chunk + 16);
        return chunk;
      },
      [](std::uint32_t, std::uint32_t, std::uint16_t) {});
  return bytes;
}

// Of the 16 rows of the running thread's warp.
void AsyncProxy::read_operands(const Product& product, ProductOperands& operands) {
  if (&current_thread() == block_.watched) watched_stops();
  const std::uint32_t warp = current_thread().linear / kWarpSize % 4;
  const auto number = [](std::uint16_t bits) {
    Bf16 element;
    element.bits = bits;
    return static_cast<float>(element);
  };
  const auto bytes = [&](std::uint32_t address) { return visible(address, 16, product.where); };
  if (!product.a_registers)
    for_elements(Descriptor(product.a), product.a_outer, 16 * warp, 16, bytes,
                 [&](std::uint32_t row, std::uint32_t k, std::uint16_t bits) {
                   operands.a[row][k] = number(bits);
                 });
  for_elements(Descriptor(product.b), product.b_outer, 0,
               static_cast<std::uint32_t>(product.columns), bytes,
               [&](std::uint32_t column, std::uint32_t k, std::uint16_t bits) {
                 operands.b[k][column] = number(bits);
               });
}

// Not in thread-local memory itself: a module that is loaded into a running program has the little
// of it that the program's start left free (fiber.cpp).
struct ProductScratch {
  ProductOperands late;
  float d[16][256];
};

// The 16 rows of one warp.
void AsyncProxy::run_products(const std::array<Product*, kWarpSize>& lanes) {
  const Product& first = *lanes[0];
  const auto columns = static_cast<std::uint32_t>(first.columns);
  static thread_local const auto scratch = std::make_unique<ProductScratch>();
  auto& d = scratch->d;
  SEQ1F1B_ASSERT(columns % 8 == 0, "columns come in eights");
  ProductOperands& operands = first.read ? *first.read : scratch->late;
  if (!first.read) read_operands(first, operands);
  if (!first.a_registers && group_a(first) != first.group_a)
    block_.fail("an operand of wgmma changed between its issue and wgmma_wait", first.where);
  auto& a = operands.a;
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
  multiply_add(operands, d, columns);
  for (unsigned lane = 0; lane < kWarpSize; ++lane) {
    const unsigned g = lane / 4, t = lane % 4;
    for (std::uint32_t j = 0; j < columns / 8; ++j)
      for (unsigned i = 0; i < 4; ++i)
        lanes[lane]->d[4 * j + i] = d[g + 8 * (i / 2)][8 * j + 2 * t + i % 2];
  }
}

}  // namespace seq1f1b::simt
