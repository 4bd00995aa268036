// Compute capability 9.0: what the asynchronous proxy does may happen at any time between its issue
// and its wait, and what a kernel forgets is reported. The emulator draws the times anew for every
// block.
#include <cstdint>
#include <numeric>
#include <vector>

#include "kernels/common/bf16.h"
#include "kernels/cuda/device_code/language.h"
#include "kernels/cuda/device_code/ptx_sm90.h"
#include "kernels/simt/kernel_report.h"
#include "tests/catch.h"

namespace seq1f1b::simt::testing {
namespace {

namespace cuda = kernels::cuda;
using cuda::Along;
using kernels::Bf16;

// Products of ones from a ring of one panel; early: the panel is given back before the product has
// read it.
__global__ void ring_of_products(const Bf16* ones, float* d, int rounds, bool early) {
  SEQ1F1B_DYNAMIC_SHARED(memory);
  constexpr int kBytes = 64 * 128;
  const std::uint32_t panel = cuda::shared_address(memory), full = panel + kBytes, empty = full + 8;
  if (threadIdx.x == 0) {
    cuda::mbarrier_init(full, 1);
    cuda::mbarrier_init(empty, 4);
    cuda::fence_mbarrier_init();
  }
  __syncthreads();
  if (threadIdx.x >= 128) {
    if (threadIdx.x != 128) return;
    for (int round = 0; round < rounds; ++round) {
      cuda::mbarrier_wait(empty, round % 2 ^ 1);
      cuda::mbarrier_arrive_expect(full, kBytes);
      cuda::bulk_load(panel, ones, kBytes, full);
    }
    return;
  }
  float fragment[32] = {};
  for (int round = 0; round < rounds; ++round) {
    cuda::mbarrier_wait(full, round % 2);
    cuda::wgmma_fence();
    cuda::wgmma_ss<64, Along::kInner, Along::kInner, true>(fragment, cuda::panel_descriptor(panel),
                                                           cuda::panel_descriptor(panel));
    cuda::wgmma_commit();
    if (early && threadIdx.x % 32 == 0) cuda::mbarrier_arrive(empty);
    cuda::wgmma_wait<0>();
    if (!early && threadIdx.x % 32 == 0) cuda::mbarrier_arrive(empty);
  }
  for (unsigned i = 0; i < 32; ++i) d[(blockIdx.x * 128 + threadIdx.x) * 32 + i] = fragment[i];
}

// d [blocks, 64, 64] = a b, both of ones, loaded by TMA. early: the products are issued before the
// operands have come. late: the operands become zeros before the products are waited for. between:
// no fence between a wait and the next product.
struct Times {
  bool early = false, late = false, between = false;
};
__global__ void times(const Bf16* ones, float* d, Times faults) {
  SEQ1F1B_DYNAMIC_SHARED(memory);
  constexpr int kBytes = 64 * 128;  // of a panel, whose swizzle leaves ones alone
  const std::uint32_t panels = cuda::shared_address(memory), barrier = panels + 2 * kBytes;
  if (threadIdx.x == 0) {
    cuda::mbarrier_init(barrier, 1);
    cuda::fence_mbarrier_init();
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    cuda::mbarrier_arrive_expect(barrier, 2 * kBytes);
    for (std::uint32_t i = 0; i < 2; ++i)
      cuda::bulk_load(panels + i * kBytes, ones, kBytes, barrier);
  }
  if (!faults.early) cuda::mbarrier_wait(barrier, 0);
  float fragment[32] = {};
  for (std::uint32_t k = 0; k < 4; ++k) {
    if (k == 0 || (k == 2 && !faults.between)) cuda::wgmma_fence();
    cuda::wgmma_ss<64, Along::kInner, Along::kInner, true>(
        fragment, cuda::panel_descriptor(panels + 32 * k),
        cuda::panel_descriptor(panels + kBytes + 32 * k));
    cuda::wgmma_commit();
    if (k == 1) cuda::wgmma_wait<0>();
  }
  if (faults.early) cuda::mbarrier_wait(barrier, 0);
  if (faults.late) {
    for (unsigned i = threadIdx.x; i < kBytes / 4; i += blockDim.x)
      reinterpret_cast<float*>(memory)[i] = 0;
    cuda::fence_proxy_async();
    __syncthreads();
  }
  cuda::wgmma_wait<0>();
  for (unsigned i = 0; i < 32; ++i) d[(blockIdx.x * 128 + threadIdx.x) * 32 + i] = fragment[i];
}

// Every warp writes 128 bytes, which thread 0 stores; barrier: when all have. Then they are
// overwritten; wait: once they were read.
__global__ void store_of_all(float* global, bool barrier, bool wait) {
  SEQ1F1B_DYNAMIC_SHARED(memory);
  auto* const mine = reinterpret_cast<float*>(memory) + threadIdx.x;
  *mine = 1;
  cuda::fence_proxy_async();
  if (barrier) __syncthreads();
  if (threadIdx.x == 0) {
    for (unsigned warp = 0; warp < blockDim.x / 32; ++warp) {
      float* const to = global + blockIdx.x * blockDim.x + warp * 32;
      cuda::bulk_reduce_add_f32(to, cuda::shared_address(memory) + warp * 128, 128);
    }
    cuda::bulk_commit();
    if (wait) cuda::bulk_wait_read<0>();
  }
  __syncthreads();
  *mine = 2;
  __syncthreads();
  if (threadIdx.x == 0) cuda::bulk_wait_read<0>();
}

// Every thread writes what thread 0 then stores; threads from `first` until `end` fence.
__global__ void some_fence(float* global, unsigned first, unsigned end) {
  SEQ1F1B_DYNAMIC_SHARED(memory);
  if (threadIdx.x == 0) {
    cuda::mbarrier_init(cuda::shared_address(memory) + 512, 1);
    cuda::fence_mbarrier_init();
  }
  __syncthreads();
  reinterpret_cast<float*>(memory)[threadIdx.x] = 1;
  if (threadIdx.x >= first && threadIdx.x < end) cuda::fence_proxy_async();
  __syncthreads();
  if (threadIdx.x != 0) return;
  cuda::bulk_reduce_add_f32(global, cuda::shared_address(memory), 512);
  cuda::bulk_commit();
  cuda::bulk_wait_read<0>();
}

// Two products of zeros; before the second, plain code writes one of its registers in front of its
// fence or behind it.
enum class Touch { kNothing, kSumBefore, kSumBehind, kFactorBefore, kFactorBehind };
__global__ void touch_registers(Touch touch) {
  SEQ1F1B_DYNAMIC_SHARED(memory);
  for (unsigned i = threadIdx.x; i < 64 * 32; i += blockDim.x)
    reinterpret_cast<float*>(memory)[i] = 0;
  cuda::fence_proxy_async();
  __syncthreads();
  const std::uint64_t panel = cuda::panel_descriptor(cuda::shared_address(memory));
  float sum[32] = {};
  std::uint32_t factor[4] = {};
  for (int round = 0; round < 2; ++round) {
    if (round == 1 && touch == Touch::kSumBefore) sum[5] = 1;
    if (round == 1 && touch == Touch::kFactorBefore) factor[3] = 1;
    cuda::wgmma_fence();
    if (round == 1 && touch == Touch::kSumBehind) sum[5] = 1;
    if (round == 1 && touch == Touch::kFactorBehind) factor[3] = 1;
    cuda::wgmma_rs<64, Along::kInner, true>(sum, factor, panel);
    cuda::wgmma_commit();
    cuda::wgmma_wait<0>();
  }
}

// A product whose operand in shared memory begins `bytes` behind a multiple of 1024.
template <Along kB>
__global__ void begins_at(std::uint32_t bytes) {
  SEQ1F1B_DYNAMIC_SHARED(memory);
  for (unsigned i = threadIdx.x; i < 72 * 32; i += blockDim.x)
    reinterpret_cast<float*>(memory)[i] = 0;
  cuda::fence_proxy_async();
  __syncthreads();
  float sum[32] = {};
  const std::uint32_t factor[4] = {};
  cuda::wgmma_fence();
  cuda::wgmma_rs<64, kB, true>(sum, factor,
                               cuda::panel_descriptor(cuda::shared_address(memory) + bytes));
  cuda::wgmma_commit();
  cuda::wgmma_wait<0>();
}

__global__ void expects_too_little(const float* in) {
  SEQ1F1B_DYNAMIC_SHARED(memory);
  const std::uint32_t barrier = cuda::shared_address(memory) + 512;
  cuda::mbarrier_init(barrier, 1);
  cuda::fence_mbarrier_init();
  cuda::mbarrier_arrive_expect(barrier, 256);
  for (std::uint32_t i = 0; i < 2; ++i)
    cuda::bulk_load(cuda::shared_address(memory) + 256 * i, in, 256, barrier);
  cuda::mbarrier_wait(barrier, 0);
  __nanosleep(1);
}

// The first warp group gives registers up, the others take them.
template <int kGiven, int kTaken>
__global__ void exchange_registers(int* done) {
  if (threadIdx.x < 128)
    cuda::give_registers<kGiven>();
  else
    cuda::take_registers<kTaken>();
  done[threadIdx.x] = 1;
}

__global__ void expects_too_much() {
  SEQ1F1B_DYNAMIC_SHARED(memory);
  const std::uint32_t barrier = cuda::shared_address(memory);
  cuda::mbarrier_init(barrier, 2);
  cuda::mbarrier_arrive_expect(barrier, 1 << 20);
}

// What may happen at several times happens at each of them in some blocks.
constexpr unsigned kBlocks = 32;
struct alignas(16) Packet {
  Bf16 values[8];
};
std::vector<Packet> panel_of_ones() {
  std::vector<Packet> ones(512);
  for (Packet& packet : ones)
    for (Bf16& value : packet.values) value = Bf16(1.0f);
  return ones;
}
unsigned blocks_without(float expected, const std::vector<float>& results, unsigned blocks) {
  const std::size_t each = results.size() / blocks;
  unsigned count = 0;
  for (unsigned block = 0; block < blocks; ++block) {
    bool same = true;
    for (std::size_t i = 0; i < each; ++i) same = same && results[block * each + i] == expected;
    count += !same;
  }
  return count;
}

}  // namespace

TEST_CASE("products read their operands at any time from issue to wait", "[simt]") {
  const auto ones = panel_of_ones();
  const auto run = [&](Times faults, unsigned blocks) {
    std::vector<float> d(blocks * 64 * 64);
    const std::string report = report_of([&](cudaStream_t stream) {
      SEQ1F1B_LAUNCH(times, blocks, 128, 2 * 64 * 128 + 8, stream, ones[0].values, d.data(),
                     faults);
    });
    return report.empty() && blocks_without(64, d, blocks) > 0 ? "wrong" : report;
  };
  CHECK(run({}, kBlocks).empty());
  const auto faulty_runs = [&](Times faults) {
    int count = 0;
    for (int i = 0; i < 32; ++i) count += !run(faults, 1).empty();
    return count;
  };
  CHECK(faulty_runs({.early = true}) > 8);
  CHECK(faulty_runs({.late = true}) == 32);
  CHECK(contains(run({.late = true}, 1), "changed between its issue"));
  CHECK(contains(run({.between = true}, 1), "wgmma without wgmma_fence"));
}

TEST_CASE("who waits for a buffer may go on before those that gave it back", "[simt]") {
  const auto ones = panel_of_ones();
  constexpr int kRounds = 5;
  const auto fails = [&](bool early) {
    std::vector<float> d(kBlocks * 64 * 64);
    const std::string report = report_of([&](cudaStream_t stream) {
      SEQ1F1B_LAUNCH(ring_of_products, kBlocks, 160, 64 * 128 + 16, stream, ones[0].values,
                     d.data(), kRounds, early);
    });
    return !report.empty() || blocks_without(16 * kRounds, d, kBlocks) > 0;
  };
  CHECK_FALSE(fails(false));
  CHECK(fails(true));
}

TEST_CASE("stores read their source at any time from issue to wait", "[simt]") {
  constexpr unsigned kThreads = 128;
  const auto wrong_blocks = [&](bool barrier, bool wait) {
    std::vector<float> global(kBlocks * kThreads);
    const std::string report = report_of([&](cudaStream_t stream) {
      SEQ1F1B_LAUNCH(store_of_all, kBlocks, kThreads, kThreads * 4, stream, global.data(), barrier,
                     wait);
    });
    return report.empty() ? blocks_without(1, global, kBlocks) : kBlocks;
  };
  CHECK(wrong_blocks(true, true) == 0);
  CHECK(wrong_blocks(true, false) > 0);
  CHECK(wrong_blocks(false, true) > 0);
}

TEST_CASE("every thread fences for the asynchronous proxy what it wrote", "[simt]") {
  constexpr unsigned kThreads = 128;
  alignas(16) float global[kThreads] = {};
  // One thread of one block in four is watched, so that of a warp that leaves the fence out is
  // missed by 256 blocks with a probability of (15 / 16) ^ 256, or 7e-8.
  const auto report = [&](unsigned first, unsigned end) {
    return report_of([&](cudaStream_t stream) {
      SEQ1F1B_LAUNCH(some_fence, 256, kThreads, 520, stream, global, first, end);
    });
  };
  CHECK(report(0, kThreads).empty());
  CHECK(contains(report(0, 1), "wrote without a fence_proxy_async of its own"));
  CHECK(contains(report(32, kThreads), "wrote without a fence_proxy_async of its own"));
  CHECK(contains(report(kThreads, kThreads), "without fence_proxy_async"));
}

TEST_CASE("registers of a product stay as they are from the fence on", "[simt]") {
  const auto report = [](Touch touch) {
    return report_of([&](cudaStream_t stream) {
      SEQ1F1B_LAUNCH(touch_registers, 1, 128, 64 * 128, stream, touch);
    });
  };
  CHECK(report(Touch::kNothing).empty());
  CHECK(report(Touch::kSumBefore).empty());
  CHECK(report(Touch::kFactorBefore).empty());
  CHECK(contains(report(Touch::kSumBehind), "written after the last wgmma_fence"));
  CHECK(contains(report(Touch::kFactorBehind), "written after the last wgmma_fence"));
}

TEST_CASE("operands of a product begin where their swizzle does", "[simt]") {
  const auto report = [](auto kernel, std::uint32_t bytes) {
    return report_of([&](cudaStream_t stream) {
      SEQ1F1B_LAUNCH(decltype(kernel)::value, 1, 128, 72 * 128, stream, bytes);
    });
  };
  for (const std::uint32_t bytes : {0, 32, 96, 1024})
    CHECK(report(Kernel<begins_at<Along::kInner>>{}, bytes).empty());
  for (const std::uint32_t bytes : {112, 128, 512})
    CHECK(contains(report(Kernel<begins_at<Along::kInner>>{}, bytes),
                   "begins within the eight rows"));
  CHECK(report(Kernel<begins_at<Along::kOuter>>{}, 1024).empty());
  for (const std::uint32_t bytes : {32, 512})
    CHECK(contains(report(Kernel<begins_at<Along::kOuter>>{}, bytes),
                   "begins within the eight rows"));
}

TEST_CASE("a barrier that expects fewer bytes than are loaded is reported", "[simt]") {
  alignas(16) const float in[64] = {};
  CHECK(!report_of([&](cudaStream_t stream) {
           SEQ1F1B_LAUNCH(expects_too_little, 1, 1, 520, stream, in);
         }).empty());
}

TEST_CASE("warps wait for registers that others must give up first", "[simt]") {
  const auto run = [](auto kernel, unsigned threads) {
    std::vector<int> done(threads);
    const std::string report = report_of([&](cudaStream_t stream) {
      SEQ1F1B_LAUNCH(decltype(kernel)::value, 1, threads, 0, stream, done.data());
    });
    const bool all = std::accumulate(done.begin(), done.end(), 0u) == threads;
    CHECK(all == report.empty());
    return report;
  };
  // 384 threads begin with 168 registers each, 512 with 128: 504 and 512 for all warp groups.
  CHECK(run(Kernel<exchange_registers<24, 240>>{}, 384).empty());
  CHECK(contains(run(Kernel<exchange_registers<32, 240>>{}, 384), "at setmaxnreg"));
  CHECK(run(Kernel<exchange_registers<32, 160>>{}, 512).empty());
  CHECK(contains(run(Kernel<exchange_registers<40, 160>>{}, 512), "at setmaxnreg"));
  CHECK(contains(run(Kernel<exchange_registers<24, 160>>{}, 384), "setmaxnreg to more registers"));
  CHECK(
      contains(run(Kernel<exchange_registers<176, 240>>{}, 384), "setmaxnreg to fewer registers"));
}

TEST_CASE("a barrier that expects more bytes than it can count is reported", "[simt]") {
  CHECK(contains(
      report_of([](cudaStream_t stream) { SEQ1F1B_LAUNCH(expects_too_much, 1, 1, 64, stream); }),
      "a barrier that expects 1048576 bytes"));
}

}  // namespace seq1f1b::simt::testing
