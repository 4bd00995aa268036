#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/cuda/device_code/language.h"
#include "kernels/cuda/device_code/ptx.h"
#include "kernels/simt/kernel_report.h"
#include "tests/catch.h"

namespace seq1f1b::simt::testing {
namespace {

using kernels::cuda::shared_address;

__global__ void write_indices(int* out) {
  const unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  const unsigned thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  out[block * blockDim.x * blockDim.y * blockDim.z + thread] =
      static_cast<int>(1000 * block + thread);
}

// Each thread adds its neighbour's number: right only if all numbers are there.
template <bool kBarrier>
__global__ void add_neighbour(float* out, int step) {
  SEQ1F1B_DYNAMIC_SHARED(memory);
  auto* numbers = reinterpret_cast<float*>(memory);
  numbers[threadIdx.x] = static_cast<float>(threadIdx.x);
  if (kBarrier) __syncthreads();
  const unsigned neighbour = (threadIdx.x + blockDim.x + static_cast<unsigned>(step)) % blockDim.x;
  out[blockIdx.x * blockDim.x + threadIdx.x] = numbers[threadIdx.x] + numbers[neighbour];
}

__global__ void count_threads(int* out, int limit) {
  const int count = __syncthreads_count(static_cast<int>(threadIdx.x) < limit);
  const int again = __syncthreads_count(static_cast<int>(threadIdx.x) == limit);
  out[threadIdx.x] = 100 * count + again + 10 * __syncthreads_or(threadIdx.x == 1000);
}

// Sums of static shared memory that only the first block fills.
template <class T>
__global__ void reads_static_shared(float* out, bool every_block) {
  SEQ1F1B_SHARED(numbers, T[8]);
  SEQ1F1B_SHARED(more, T[4]);
  if (every_block || blockIdx.x == 0) {
    if (threadIdx.x < 8) numbers[threadIdx.x] = static_cast<T>(threadIdx.x);
    if (threadIdx.x < 4) more[threadIdx.x] = static_cast<T>(1);
  }
  __syncthreads();
  float sum = 0;
  for (const T& number : numbers) sum += static_cast<float>(number);
  for (const T& number : more) sum += static_cast<float>(number);
  if (threadIdx.x == 0) out[blockIdx.x] = sum;
}
__global__ void large_static_shared(float* out) {
  SEQ1F1B_SHARED(numbers, float[1024]);
  numbers[threadIdx.x] = 1;
  out[threadIdx.x] = numbers[threadIdx.x];
}

__global__ void barrier_in_one_branch() {
  if (threadIdx.x < 40) __syncthreads();
}
__global__ void two_barriers() {
  if (threadIdx.x < 32)
    __syncthreads();
  else
    __syncthreads();
}
__global__ void barrier_and_endless_wait() {
  if (threadIdx.x < 32)
    __syncthreads();
  else
    current_block().wait_until(
        "a wait without end", [] { return false; }, Where::current());
}

// Two producers' warps fill, one consumer's warp reads; the consumer alone waits.
__global__ void hand_over(float* out) {
  SEQ1F1B_DYNAMIC_SHARED(memory);
  auto* numbers = reinterpret_cast<float*>(memory);
  for (int round = 0; round < 3; ++round) {
    if (threadIdx.x < 64) {
      numbers[threadIdx.x] = static_cast<float>(round) + static_cast<float>(threadIdx.x);
      current_block().arrive_named(1, 96, Where::current());
      current_block().sync_named(2, 96, Where::current());
    } else {
      current_block().sync_named(1, 96, Where::current());
      out[round * 32 + threadIdx.x - 64] = numbers[threadIdx.x - 64] + numbers[threadIdx.x - 32];
      current_block().sync_named(2, 96, Where::current());
    }
  }
}
__global__ void named_barrier_counts() {
  current_block().sync_named(3, threadIdx.x < 32 ? 64 : 96, Where::current());
}

__global__ void address_outside(std::uint32_t offset) {
  SEQ1F1B_DYNAMIC_SHARED(memory);
  std::uint32_t r[4];
  kernels::cuda::ldmatrix_x4(r, shared_address(memory) + offset);
}
__global__ void address_of_a_local() {
  float here = 0;
  (void)shared_address(&here);
}
__global__ void throws() { throw Error(kExitUnexpected, "no device code throws"); }

__global__ void deep(int* out) {
  volatile char large[100000];
  large[0] = static_cast<char>(threadIdx.x);
  large[99999] = 1;
  __syncthreads();
  out[threadIdx.x] = large[0] + large[99999];
}

// Whether the kernel without its barrier went wrong in some of the blocks.
bool unguarded_read_shows(int step) {
  constexpr int kBlocks = 64, kThreads = 96;
  std::vector<float> out(kBlocks * kThreads);
  SEQ1F1B_LAUNCH((add_neighbour<false>), kBlocks, kThreads, kThreads * sizeof(float), nullptr,
                 out.data(), step);
  bool nan = false;
  for (float value : out) nan = nan || std::isnan(value);
  return nan;
}

}  // namespace

TEST_CASE("every thread of every block runs once, under its own indices", "[simt]") {
  const dim3 grid(3, 2, 2), block(5, 3, 2);
  std::vector<int> out(12 * 30, -1);
  SEQ1F1B_LAUNCH(write_indices, grid, block, 0, nullptr, out.data());
  for (int i = 0; i < static_cast<int>(out.size()); ++i)
    REQUIRE(out[static_cast<std::size_t>(i)] == 1000 * (i / 30) + i % 30);
}

TEST_CASE("shared memory is whole after a barrier, and NaN shows where there is none", "[simt]") {
  std::vector<float> out(64 * 96);
  for (int step : {1, -1, 32}) {
    SEQ1F1B_LAUNCH((add_neighbour<true>), 64, 96, 96 * sizeof(float), nullptr, out.data(), step);
    for (int i = 0; i < 64 * 96; ++i)
      REQUIRE(out[static_cast<std::size_t>(i)] ==
              static_cast<float>(i % 96 + (i % 96 + 96 + step) % 96));
  }
  CHECK(unguarded_read_shows(1));
  CHECK(unguarded_read_shows(-1));
  CHECK(unguarded_read_shows(32));
}

TEST_CASE("static shared memory is the block's, and NaN until it is written", "[simt]") {
  std::vector<float> out(16);
  const auto run = [&](auto kernel, bool every_block) {
    SEQ1F1B_LAUNCH(decltype(kernel)::value, 16, 32, 0, nullptr, out.data(), every_block);
    return static_cast<int>(
        std::count_if(out.begin(), out.end(), [](float sum) { return sum == 32.0f; }));
  };
  CHECK(run(Kernel<reads_static_shared<float>>{}, true) == 16);
  CHECK(run(Kernel<reads_static_shared<double>>{}, true) == 16);
  CHECK(run(Kernel<reads_static_shared<float>>{}, false) == 1);
  CHECK(run(Kernel<reads_static_shared<double>>{}, false) == 1);
}

TEST_CASE("static and dynamic shared memory together keep to the limit", "[simt]") {
  std::vector<float> out(32);
  const auto with = [&](std::size_t dynamic_bytes) {
    return report_of([&](cudaStream_t stream) {
      SEQ1F1B_LAUNCH(large_static_shared, 1, 32, dynamic_bytes, stream, out.data());
    });
  };
  CHECK(with(44 * 1024).empty());
  CHECK(contains(with(44 * 1024 + 4), "4096 bytes and 45060 dynamic ones are more than 49152"));
}

TEST_CASE("barriers that count", "[simt]") {
  std::vector<int> out(70);
  SEQ1F1B_LAUNCH(count_threads, 1, 70, 0, nullptr, out.data(), 33);
  for (int value : out) REQUIRE(value == 3301);
}

TEST_CASE("__syncthreads waits for the live threads only", "[simt]") {
  CHECK(report_of([](cudaStream_t stream) {
          SEQ1F1B_LAUNCH(barrier_in_one_branch, 1, 64, 0, stream);
        }).empty());
}

TEST_CASE("barriers in two branches are reported with both places", "[simt]") {
  const std::string report =
      report_of([](cudaStream_t stream) { SEQ1F1B_LAUNCH(two_barriers, 1, 64, 0, stream); });
  INFO(report);
  CHECK(contains(report, "kernel two_barriers, block (0, 0, 0), thread ("));
  CHECK(contains(report, "threads diverge"));
  CHECK(contains(report, "block_test.cpp"));
}

TEST_CASE("a deadlock names who waits where", "[simt]") {
  const std::string report = report_of(
      [](cudaStream_t stream) { SEQ1F1B_LAUNCH(barrier_and_endless_wait, 1, 64, 0, stream); });
  INFO(report);
  CHECK(contains(report, "deadlock"));
  CHECK(contains(report, "thread 0 to 31 at __syncthreads in block_test.cpp:"));
  CHECK(contains(report, "thread 32 to 63 at a wait without end in block_test.cpp:"));
}

TEST_CASE("named barriers: some arrive, some wait", "[simt]") {
  for (int repeat = 0; repeat < 16; ++repeat) {
    std::vector<float> out(96);
    SEQ1F1B_LAUNCH(hand_over, 1, 96, 64 * sizeof(float), nullptr, out.data());
    for (int i = 0; i < 96; ++i)
      REQUIRE(out[static_cast<std::size_t>(i)] ==
              static_cast<float>(2 * (i / 32) + i % 32 + 32 + i % 32));
  }
  const std::string report = report_of(
      [](cudaStream_t stream) { SEQ1F1B_LAUNCH(named_barrier_counts, 1, 64, 0, stream); });
  CHECK(contains(report, "others wait at it for"));
}

TEST_CASE("shared addresses outside the launch, or of something else, are reported", "[simt]") {
  const auto at = [](std::uint32_t offset) {
    return report_of([offset](cudaStream_t stream) {
      SEQ1F1B_LAUNCH(address_outside, 1, 32, 256, stream, offset);
    });
  };
  CHECK(at(240).empty());
  CHECK(contains(at(248), "outside the 256 bytes of the launch"));
  CHECK(contains(at(256), "outside the 256 bytes of the launch"));
  CHECK(contains(at(~15u), "outside the 256 bytes of the launch"));
  CHECK(contains(at(8), "is not a multiple of 16"));
  CHECK(contains(
      report_of([](cudaStream_t stream) { SEQ1F1B_LAUNCH(address_of_a_local, 1, 1, 256, stream); }),
      "not in the block's dynamic shared memory"));
}

TEST_CASE("an exception in a kernel is a report", "[simt]") {
  CHECK(contains(report_of([](cudaStream_t stream) { SEQ1F1B_LAUNCH(throws, 1, 32, 0, stream); }),
                 "exception in device code: no device code throws"));
}

TEST_CASE("stacks are deep enough for large frames", "[simt]") {
  std::vector<int> out(100);
  SEQ1F1B_LAUNCH(deep, 1, 100, 0, nullptr, out.data());
  for (int i = 0; i < 100; ++i) REQUIRE(out[static_cast<std::size_t>(i)] == i + 1);
}

}  // namespace seq1f1b::simt::testing
