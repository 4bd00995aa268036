// Barriers, copies and products of compute capability 9.0 against plain loops. The 128-byte swizzle
// and the fragments are written here from the PTX ISA manual ("Swizzling Modes", "Register
// Fragments and Shared Memory Matrix Layouts" of wgmma.m64nNk16), not from the emulator's code.
#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/common/bf16.h"
#include "kernels/common/philox.h"
#include "kernels/cuda/device_code/language.h"
#include "kernels/cuda/device_code/ptx_sm90.h"
#include "kernels/simt/kernel_report.h"
#include "tests/catch.h"

namespace seq1f1b::simt::testing {
namespace {

namespace cuda = kernels::cuda;
using cuda::Along;
using kernels::Bf16;

std::vector<Bf16> draws(std::uint64_t key, std::size_t count) {
  std::vector<Bf16> values(count);
  for (std::size_t i = 0; i < count; ++i)
    values[i] = Bf16(static_cast<float>(kernels::philox_normal(key, i)));
  return values;
}

// Panels of 64 elements (128 bytes) by rows: chunk c of row r lies where chunk c ^ (r % 8) would.
__device__ void put(unsigned char* panels, int panel_rows, int row, int column, Bf16 value) {
  const int panel = column / 64, chunk = column % 64 / 8;
  unsigned char* place =
      panels + panel * panel_rows * 128 + row * 128 + (chunk ^ row % 8) * 16 + column % 8 * 2;
  *reinterpret_cast<Bf16*>(place) = value;
}

// What to leave out.
struct Faults {
  bool fence_products = false, fence_proxy = false, wait = false;
};

// d [64, kN] = d + a b over an inner dimension of 64, four steps in two groups. a [64, 64] and
// b [64, kN], row-major in global memory; in shared memory along the inner or the outer dimension.
template <int kN, Along kA, Along kB, bool kRegisters>
__global__ void product(const Bf16* a, const Bf16* b, float* d, Faults faults) {
  SEQ1F1B_DYNAMIC_SHARED(memory);
  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32;
  unsigned char* panels_b = memory + 64 * 128;
  for (int i = thread; i < 64 * 64; i += 128) {
    const int row = i / 64, k = i % 64;
    if (kA == Along::kInner)
      put(memory, 64, row, k, a[i]);
    else
      put(memory, 64, k, row, a[i]);
  }
  for (int i = thread; i < 64 * kN; i += 128) {
    const int k = i / kN, column = i % kN;
    if (kB == Along::kInner)
      put(panels_b, kN, column, k, b[i]);
    else
      put(panels_b, 64, k, column, b[i]);
  }
  if (!faults.fence_proxy) cuda::fence_proxy_async();
  __syncthreads();

  float fragment[kN / 2];
  const int row = 16 * warp + lane / 4;
  for (int i = 0; i < kN / 2; ++i)
    fragment[i] = d[(row + 8 * (i / 2 % 2)) * kN + 8 * (i / 4) + 2 * (lane % 4) + i % 2];
  std::uint32_t fragment_a[4][4];
  for (int k = 0; k < 4; ++k)
    for (int i = 0; i < 4; ++i) {
      const Bf16* pair = a + (row + 8 * (i % 2)) * 64 + 16 * k + 8 * (i / 2) + 2 * (lane % 4);
      fragment_a[k][i] =
          static_cast<std::uint32_t>(pair[1].bits) << 16 | static_cast<std::uint32_t>(pair[0].bits);
    }
  if (!faults.fence_products) cuda::wgmma_fence();
  for (int k = 0; k < 4; ++k) {
    const std::uint32_t step_a = kA == Along::kInner ? 32 * k : 2048 * k;
    const std::uint32_t step_b = kB == Along::kInner ? 32 * k : 2048 * k;
    const std::uint64_t descriptor_a =
        cuda::panel_descriptor(cuda::shared_address(memory) + step_a, 64 * 128);
    const std::uint64_t descriptor_b =
        cuda::panel_descriptor(cuda::shared_address(panels_b) + step_b, 64 * 128);
    if constexpr (kRegisters)
      cuda::wgmma_rs<kN, kB, true>(fragment, fragment_a[k], descriptor_b);
    else
      cuda::wgmma_ss<kN, kA, kB, true>(fragment, descriptor_a, descriptor_b);
    if (k % 2 == 1) cuda::wgmma_commit();
  }
  cuda::wgmma_wait<1>();
  if (!faults.wait) cuda::wgmma_wait<0>();
  for (int i = 0; i < kN / 2; ++i)
    d[(row + 8 * (i / 2 % 2)) * kN + 8 * (i / 4) + 2 * (lane % 4) + i % 2] = fragment[i];
  if (faults.wait) cuda::wgmma_wait<0>();
}

template <int kN, Along kA, Along kB, bool kRegisters>
double worst_error() {
  const auto a = draws(1, 64 * 64), b = draws(2, 64 * kN), before = draws(3, 64 * kN);
  std::vector<float> d(64 * kN);
  for (std::size_t i = 0; i < d.size(); ++i) d[i] = static_cast<float>(before[i]);
  constexpr int kRows = 64 + (kN + 63) / 64 * 64;  // of panels of a and b
  SEQ1F1B_LAUNCH((product<kN, kA, kB, kRegisters>), 1, 128, kRows * 128, nullptr, a.data(),
                 b.data(), d.data(), Faults{});
  double worst = 0;
  for (std::size_t row = 0; row < 64; ++row)
    for (std::size_t column = 0; column < kN; ++column) {
      double expected = static_cast<float>(before[row * kN + column]);
      for (std::size_t k = 0; k < 64; ++k)
        expected += double{static_cast<float>(a[row * 64 + k])} *
                    double{static_cast<float>(b[k * kN + column])};
      const double error = std::abs(expected - d[row * kN + column]);
      worst = error <= worst ? worst : error;  // NaN is worst
    }
  return worst;
}

// Loads one box, waits or not, and hands its rows out without swizzle; or stores it elsewhere.
__global__ void move_box(const __grid_constant__ cuda::TensorMap from,
                         const __grid_constant__ cuda::TensorMap to, int c0, int c1, int c2, int c3,
                         float* out, bool wait, bool fence) {
  SEQ1F1B_DYNAMIC_SHARED(memory);
  const std::uint32_t box = cuda::shared_address(memory), barrier = box + 24 * 128;
  if (threadIdx.x == 0) {
    cuda::mbarrier_init(barrier, 1);
    cuda::fence_mbarrier_init();
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    cuda::mbarrier_arrive_expect(barrier, 24 * 128);
    cuda::tma_load_4d(box, &from, c0, c1, c2, c3, barrier);
  }
  if (wait) cuda::mbarrier_wait(barrier, 0);
  for (unsigned i = threadIdx.x; i < 24 * 64; i += blockDim.x) {
    const unsigned row = i / 64, chunk = i % 64 / 8;
    auto& element = reinterpret_cast<Bf16*>(memory)[row * 64 + (chunk ^ row % 8) * 8 + i % 8];
    out[i] = static_cast<float>(element);
    element = Bf16(2 * static_cast<float>(element));
  }
  if (!wait) cuda::mbarrier_wait(barrier, 0);
  if (fence) cuda::fence_proxy_async();
  __syncthreads();
  if (threadIdx.x == 0) {
    cuda::tma_store_4d(&to, c0, c1, c2, c3, box);
    cuda::bulk_commit();
    cuda::bulk_wait_read<0>();
  }
}

// A ring of two buffers between a producer and 64 consumers.
__global__ void ring(const float* in, float* out, int rounds, int expected) {
  SEQ1F1B_DYNAMIC_SHARED(memory);
  const std::uint32_t base = cuda::shared_address(memory), full = base + 1024, empty = base + 1040;
  if (threadIdx.x == 0) {
    for (std::uint32_t i = 0; i < 2; ++i) {
      cuda::mbarrier_init(full + 8 * i, 1);
      cuda::mbarrier_init(empty + 8 * i, 64);
    }
    cuda::fence_mbarrier_init();
  }
  __syncthreads();
  for (int round = 0; round < rounds; ++round) {
    const std::uint32_t slot = static_cast<std::uint32_t>(round) % 2;
    const int parity = round / 2 % 2;
    if (threadIdx.x == 64) {
      cuda::mbarrier_wait(empty + 8 * slot, parity ^ 1);
      cuda::mbarrier_arrive_expect(full + 8 * slot, expected);
      cuda::bulk_load(base + 512 * slot, in + 64 * round, 256, full + 8 * slot);
    } else if (threadIdx.x < 64) {
      cuda::mbarrier_wait(full + 8 * slot, parity);
      out[64 * round + static_cast<int>(threadIdx.x)] =
          reinterpret_cast<float*>(memory)[128 * slot + threadIdx.x];
      cuda::mbarrier_arrive(empty + 8 * slot);
    }
  }
}

__global__ void add_to_global(float* global, bool wait) {
  SEQ1F1B_DYNAMIC_SHARED(memory);
  reinterpret_cast<float*>(memory)[threadIdx.x] = static_cast<float>(threadIdx.x);
  cuda::fence_proxy_async();
  __syncthreads();
  if (threadIdx.x != 0) return;
  cuda::bulk_reduce_add_f32(global, cuda::shared_address(memory), 128);
  cuda::bulk_commit();
  if (wait) cuda::bulk_wait_read<0>();
}

__global__ void barrier_without_init() {
  SEQ1F1B_DYNAMIC_SHARED(memory);
  cuda::mbarrier_arrive(cuda::shared_address(memory));
}

}  // namespace

TEST_CASE("wgmma multiplies operands of both orders, from memory and registers", "[simt]") {
  constexpr auto kInner = Along::kInner, kOuter = Along::kOuter;
  CHECK(worst_error<64, kInner, kInner, false>() < 1e-4);
  CHECK(worst_error<64, kOuter, kInner, false>() < 1e-4);
  CHECK(worst_error<64, kInner, kOuter, false>() < 1e-4);
  CHECK(worst_error<128, kInner, kInner, false>() < 1e-4);
  CHECK(worst_error<128, kOuter, kOuter, false>() < 1e-4);
  CHECK(worst_error<64, kInner, kInner, true>() < 1e-4);
  CHECK(worst_error<128, kInner, kOuter, true>() < 1e-4);
}

// What lies beyond the used part of the last panel is NaN.
TEST_CASE("wgmma multiplies widths that are no whole panels", "[simt]") {
  constexpr auto kInner = Along::kInner, kOuter = Along::kOuter;
  CHECK(worst_error<48, kOuter, kOuter, false>() < 1e-4);
  CHECK(worst_error<80, kInner, kInner, false>() < 1e-4);
  CHECK(worst_error<80, kInner, kOuter, true>() < 1e-4);
  CHECK(worst_error<96, kInner, kOuter, true>() < 1e-4);
  CHECK(worst_error<112, kInner, kInner, false>() < 1e-4);
  CHECK(worst_error<256, kInner, kOuter, true>() < 1e-4);
}

TEST_CASE("what wgmma must be fenced and waited for", "[simt]") {
  const auto a = draws(1, 64 * 64), b = draws(2, 64 * 64);
  std::vector<float> d(64 * 64);
  const auto with = [&](Faults faults) {
    return report_of([&](cudaStream_t stream) {
      SEQ1F1B_LAUNCH((product<64, Along::kInner, Along::kInner, false>), 1, 128, 128 * 128, stream,
                     a.data(), b.data(), d.data(), faults);
    });
  };
  CHECK(with({}).empty());
  CHECK(contains(with({.fence_products = true}), "wgmma without wgmma_fence"));
  CHECK(contains(with({.fence_proxy = true}), "written without fence_proxy_async"));
  CHECK(with({.wait = true}).empty());
  for (float value : d) REQUIRE(std::isnan(value));
}

TEST_CASE("TMA moves boxes, zeros what is outside, and is NaN until waited for", "[simt]") {
  // [3, 5, 2, 72] with gaps between its rows; boxes of 64 x 2 x 4 x 3.
  constexpr std::int64_t kExtent[4] = {72, 2, 5, 3}, kStride[3] = {80, 176, 1000};
  const auto source = draws(5, 3 * 1000);
  std::vector<Bf16> target(3 * 1000, Bf16(7.0f));
  cuda::TensorMapShape shape{};
  for (std::size_t i = 0; i < 4; ++i) shape.extent[i] = static_cast<std::uint64_t>(kExtent[i]);
  for (std::size_t i = 0; i < 3; ++i) shape.stride[i] = static_cast<std::uint64_t>(kStride[i]);
  shape.box = {64, 2, 4, 3};
  const cuda::TensorMap from{const_cast<Bf16*>(source.data()), shape}, to{target.data(), shape};
  std::vector<float> out(24 * 64);
  const auto move = [&](int c0, int c2, bool wait, bool fence) {
    return report_of([&](cudaStream_t stream) {
      SEQ1F1B_LAUNCH(move_box, 1, 64, 24 * 128 + 8, stream, from, to, c0, 0, c2, 0, out.data(),
                     wait, fence);
    });
  };
  for (const auto& [c0, c2] : {std::pair(0, 0), std::pair(8, 3), std::pair(16, -1)}) {
    REQUIRE(move(c0, c2, true, true).empty());
    for (int i = 0; i < 24 * 64; ++i) {
      const std::int64_t at[4] = {c0 + i % 64, i / 64 % 2, c2 + i / 128 % 4, i / 512};
      bool inside = true;
      std::int64_t element = at[0];
      for (int d = 0; d < 4; ++d) inside = inside && at[d] >= 0 && at[d] < kExtent[d];
      for (int d = 1; d < 4; ++d) element += at[d] * kStride[d - 1];
      const float expected =
          inside ? static_cast<float>(source[static_cast<std::size_t>(element)]) : 0;
      REQUIRE(out[static_cast<std::size_t>(i)] == expected);
      if (inside)
        REQUIRE(static_cast<float>(target[static_cast<std::size_t>(element)]) == 2 * expected);
    }
  }
  // The gaps are left alone.
  for (std::size_t i = 72; i < 80; ++i) CHECK(static_cast<float>(target[i]) == 7);

  // Where the box has not come yet, nothing of it has.
  int seen = 0;
  for (int i = 0; i < 32; ++i) {
    (void)move(0, 0, false, true);
    if (!std::isnan(out[0])) continue;
    ++seen;
    for (float value : out) REQUIRE(std::isnan(value));
  }
  CHECK(seen > 8);
  CHECK(contains(move(0, 0, true, false), "written without fence_proxy_async"));
}

TEST_CASE("barriers in shared memory carry a ring of buffers", "[simt]") {
  std::vector<float> in(64 * 7), out(64 * 7);
  for (std::size_t i = 0; i < in.size(); ++i) in[i] = static_cast<float>(i);
  const auto run = [&](int expected) {
    return report_of([&](cudaStream_t stream) {
      SEQ1F1B_LAUNCH(ring, 1, 96, 1056, stream, in.data(), out.data(), 7, expected);
    });
  };
  CHECK(run(256).empty());
  CHECK(out == in);
  const std::string report = run(272);
  CHECK(contains(report, "deadlock"));
  CHECK(contains(report, "thread 0 to 63 at mbarrier_wait in ptx_sm90_test.cpp:"));
  CHECK(contains(report_of([](cudaStream_t stream) {
                   SEQ1F1B_LAUNCH(barrier_without_init, 1, 1, 64, stream);
                 }),
                 "no barrier was initialised"));
}

TEST_CASE("bulk additions reach global memory, and must be waited for", "[simt]") {
  alignas(16) float global[32] = {};
  for (float& value : global) value = 100;
  CHECK(report_of([&](cudaStream_t stream) {
          SEQ1F1B_LAUNCH(add_to_global, 3, 32, 128, stream, global, true);
        }).empty());
  for (int i = 0; i < 32; ++i) CHECK(global[i] == static_cast<float>(100 + 3 * i));
  CHECK(contains(report_of([&](cudaStream_t stream) {
                   SEQ1F1B_LAUNCH(add_to_global, 1, 32, 128, stream, global, false);
                 }),
                 "before the stores of thread 0 had read"));
}

}  // namespace seq1f1b::simt::testing
