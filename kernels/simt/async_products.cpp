// The products of the asynchronous proxy: wgmma, from its fence over issue and commit to the wait.
#include <algorithm>
#include <cstring>

#include "kernels/common/bf16.h"
#include "kernels/common/errors.h"
#include "kernels/simt/async_proxy.h"

namespace seq1f1b::simt {
namespace {

using kernels::Bf16;

float value(std::uint32_t pair, int half) {
  Bf16 element;
  element.bits = static_cast<std::uint16_t>(pair >> (16 * half));
  return static_cast<float>(element);
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
