#pragma once
// The asynchronous proxy of compute capability 9.0: barriers in shared memory, bulk and tensor
// copies, products of warp groups. What is asynchronous happens at a time drawn from the seed, the
// earliest or the latest that the manual permits:
//   loads     land when they are issued (in some blocks only), or when all threads of the block
//             wait, one after the other in any order
//   stores    read shared memory when they are issued, or when their issuer waits for them
//   products  read shared memory when they are issued, or at the wait that covers them; registers
//             at the wait
// A warp's product may read the rows of a of the whole warp group, which must not change between
// its issue and its wait. Results appear at the wait in all cases, and destinations are NaN until
// then. So an operand that has not come yet when a product is issued shows as well as one that is
// overwritten too soon.
//
// Reading shared memory that plain code wrote without fence_proxy_async is reported: the proxy sees
// the memory as it was at the last fence of any thread. Whether each writer has fenced what it
// wrote itself is checked of one thread, drawn from the seed, in one block of four: what it writes
// is found by comparing all of shared memory before and after each time it runs.
//
// So are registers of a product that plain code wrote between the fence and the product, where the
// thread has used the same ones before.
#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <vector>

#include "kernels/simt/block.h"

namespace seq1f1b::simt {

struct SharedBarrier {
  unsigned count = 0;      // arrivals of a phase
  unsigned pending = 0;    // of them still to come
  std::int64_t bytes = 0;  // expected and not yet come
  unsigned phase = 0;
  bool fenced = false;  // after its initialisation
};

// What 16 rows of a product read from shared memory.
struct ProductOperands {
  float a[16][16], b[16][256];
};

// One issued product of a thread: d (+)= a b.
struct Product {
  int columns;  // of b and d
  bool add;
  float* d;                          // columns / 2 numbers, the fragment's
  const std::uint32_t* a_registers;  // null: from shared memory
  std::uint64_t a, b;                // descriptors
  bool a_outer, b_outer;
  std::vector<float> before;  // d until now, where no earlier product of the thread holds it
  Where where;
  std::vector<std::byte> group_a{};  // lane 0's: the whole group's a in shared memory, at issue
  std::unique_ptr<ProductOperands> read{};  // lane 0's, for its warp: what was read at the issue
};

class AsyncProxy final : public Extension {
 public:
  explicit AsyncProxy(Block& block);
  // Of the running block; made when first used.
  static AsyncProxy& get();

  bool progress() override;
  void passing() override;
  void watched_stops() override;
  void watched_goes_on() override;
  std::string at_end() override;

  // Barriers.
  void init_barrier(std::uint32_t shared, int count, const Where& where);
  void fence_init();
  void arrive(std::uint32_t shared, int bytes, const Where& where);  // expecting `bytes` more
  void wait_barrier(std::uint32_t shared, int parity, const Where& where);

  // Loads: `places` of shared memory get what `read` fills in, then `barrier` its bytes.
  struct Piece {
    std::uint32_t shared;
    const void* global;  // null: zeros
    std::uint32_t bytes;
  };
  void load(std::vector<Piece> pieces, std::uint32_t barrier, const Where& where);
  // Stores and additions: `write` gets each piece's bytes when the group is waited for.
  enum class Store { kCopy, kAddF32 };
  struct Target {
    std::uint32_t shared;
    void* global;
    std::uint32_t bytes;
  };
  void store(std::vector<Target> targets, Store kind, const Where& where);
  void commit_stores();
  void wait_stores(std::size_t pending);

  void fence();

  // setmaxnreg of a warp, to `count` registers per thread: more are waited for until other warps
  // have given up as many.
  void set_registers(int count, bool more, const Where& where);

  // Products, by warps.
  void fence_products(const Where& where);
  void multiply(Product product);
  void commit_products(const Where& where);
  void wait_products(std::size_t pending, const Where& where);

 private:
  struct Load {
    std::vector<Piece> pieces;
    std::uint32_t barrier, bytes;
  };
  struct StoreCall {
    std::vector<Target> targets;
    Store kind;
    std::vector<std::byte> read;  // at its issue; empty: to be read at the wait
  };
  struct Registers {
    const float* begin;
    std::size_t count;
    std::vector<float> at_fence;
  };
  struct PerThread {
    std::vector<StoreCall> open_stores;
    std::deque<std::vector<StoreCall>> stores;
    std::vector<Product> open_products;
    std::deque<std::vector<Product>> products;
    bool fenced = false;  // since its last wgmma_wait
    // Registers of products so far, and what they held at the last fence; empty: in flight then.
    std::vector<Registers> registers;
  };
  SharedBarrier& barrier_at(std::uint32_t shared, const Where& where);
  void check_complete(SharedBarrier& barrier);
  PerThread& mine();
  const std::byte* visible(std::uint32_t shared, std::size_t bytes, const Where& where);
  void both(std::uint32_t shared, const void* from, int fill, std::size_t bytes);
  void see_all();
  void check_registers(PerThread& thread, const float* begin, std::size_t count,
                       const Where& where);
  std::vector<std::byte> group_a(const Product& product);
  bool draw() { return next_random(random_) & 1; }
  void land(const Load& load);
  static void complete_issue(const Lanes& lanes);
  static void complete_products(const Lanes& lanes);
  void read_operands(const Product& product, ProductOperands& operands);
  void run_products(const std::array<Product*, kWarpSize>& lanes);

  Block& block_;
  bool take_registers(unsigned warp, int count);

  std::map<std::uint32_t, SharedBarrier> barriers_;
  // Per thread, of each warp; and what warps have given up, per thread of a warp.
  std::vector<int> registers_;
  int spare_registers_ = 0;
  std::vector<Load> loads_;
  std::vector<PerThread> threads_;
  std::vector<std::byte> seen_;  // shared memory as the proxy sees it
  bool fenced_ = false;          // by somebody, and not all seen yet
  // Of the watched thread: shared memory when it last began or stopped, the bytes that it wrote and
  // has not fenced, and how many.
  std::vector<std::byte> before_;
  std::vector<std::uint8_t> unfenced_;
  std::size_t unfenced_bytes_ = 0;
  std::uint64_t random_;
  bool loads_land_early_;  // half of them
};

}  // namespace seq1f1b::simt
