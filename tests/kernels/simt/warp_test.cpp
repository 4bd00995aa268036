#include <cstdint>
#include <vector>

#include "kernels/cuda/device_code/language.h"
#include "kernels/simt/kernel_report.h"
#include "tests/catch.h"

namespace seq1f1b::simt::testing {
namespace {

constexpr unsigned kAll = 0xffffffffu;

struct Results {
  int shuffle, up, down, butterfly, butterfly8, down8, up8, shuffle16;
  double wide;
  unsigned ballot, match;
  int any, all, none;
  int sum, least, greatest;
  unsigned either;
};

__global__ void all_functions(Results* out) {
  const int lane = static_cast<int>(threadIdx.x % 32), value = 100 * lane + 7;
  Results r;
  r.shuffle = __shfl_sync(kAll, value, 3 * lane + 5);
  r.up = __shfl_up_sync(kAll, value, 3);
  r.down = __shfl_down_sync(kAll, value, 5);
  r.butterfly = __shfl_xor_sync(kAll, value, 17);
  r.butterfly8 = __shfl_xor_sync(kAll, value, 12, 8);
  r.down8 = __shfl_down_sync(kAll, value, 3, 8);
  r.up8 = __shfl_up_sync(kAll, value, 3, 8);
  r.shuffle16 = __shfl_sync(kAll, value, 21, 16);
  r.wide = __shfl_sync(kAll, 0.5 * value, 31);
  r.ballot = __ballot_sync(kAll, lane % 3 == 0);
  r.match = __match_any_sync(kAll, lane % 5);
  r.any = __any_sync(kAll, lane == 9);
  r.all = __all_sync(kAll, lane >= 0);
  r.none = __any_sync(kAll, lane > 40) + __all_sync(kAll, lane != 9);
  r.sum = __reduce_add_sync(kAll, value);
  r.least = __reduce_min_sync(kAll, -value);
  r.greatest = __reduce_max_sync(kAll, -value);
  r.either = __reduce_or_sync(kAll, 1u << (lane / 2));
  out[threadIdx.x] = r;
}

// Halves of a warp on their own ways, as many times as they like.
__global__ void halves(int* out) {
  const int lane = static_cast<int>(threadIdx.x);
  const unsigned mask = lane < 16 ? 0xffffu : 0xffff0000u;
  int value = lane;
  for (int i = 0; i < (lane < 16 ? 2 : 5); ++i) value = __shfl_xor_sync(mask, value, 1) + 1;
  out[lane] = value;
}

__global__ void lane_exits_early(int* out) {
  if (threadIdx.x == 5) return;
  out[threadIdx.x] = __shfl_sync(kAll, 1, 0);
}
__global__ void lane_exits_late(int* out) {
  if (threadIdx.x != 5) out[threadIdx.x] = __shfl_sync(kAll, 1, 0);
}
__global__ void different_operations() {
  if (threadIdx.x < 16)
    __ballot_sync(kAll, 1);
  else
    __shfl_sync(kAll, 1, 0);
}
__global__ void different_places() {
  if (threadIdx.x < 16)
    __syncwarp();
  else
    __syncwarp();
}
__global__ void different_masks() { __syncwarp(threadIdx.x < 16 ? kAll : 0xffff0000u); }
__global__ void caller_left_out() { __syncwarp(1u); }
__global__ void reads_outside_the_mask(int* out) {
  if (threadIdx.x < 16) out[threadIdx.x] = __shfl_sync(0xffffu, 1, 20);
}
__global__ void lane_at_a_barrier() {
  if (threadIdx.x == 3) __syncthreads();
  __syncwarp();
}

}  // namespace

TEST_CASE("warp functions are those of the programming guide", "[simt]") {
  std::vector<Results> out(64);
  SEQ1F1B_LAUNCH(all_functions, 1, 64, 0, nullptr, out.data());
  int total = 0;
  for (int lane = 0; lane < 32; ++lane) total += 100 * lane + 7;
  for (int thread = 0; thread < 64; ++thread) {
    INFO("thread " << thread);
    const int lane = thread % 32;
    const auto of = [](int other) { return 100 * other + 7; };
    const Results& r = out[static_cast<std::size_t>(thread)];
    CHECK(r.shuffle == of((3 * lane + 5) % 32));
    CHECK(r.up == of(lane < 3 ? lane : lane - 3));
    CHECK(r.down == of(lane + 5 > 31 ? lane : lane + 5));
    CHECK(r.butterfly == of(lane ^ 17));
    // Partners in earlier sub-sections may be read, those in later ones not.
    CHECK(r.butterfly8 == of((lane ^ 12) / 8 > lane / 8 ? lane : lane ^ 12));
    CHECK(r.down8 == of(lane % 8 + 3 > 7 ? lane : lane + 3));
    CHECK(r.up8 == of(lane % 8 < 3 ? lane : lane - 3));
    CHECK(r.shuffle16 == of(lane / 16 * 16 + 5));
    CHECK(r.wide == 0.5 * of(31));
    unsigned threes = 0, same = 0;
    for (int other = 0; other < 32; ++other) {
      if (other % 3 == 0) threes |= 1u << other;
      if (other % 5 == lane % 5) same |= 1u << other;
    }
    CHECK(r.ballot == threes);
    CHECK(r.match == same);
    CHECK(r.any == 1);
    CHECK(r.all == 1);
    CHECK(r.none == 0);
    CHECK(r.sum == total);
    CHECK(r.least == -of(31));
    CHECK(r.greatest == -of(0));
    CHECK(r.either == 0xffffu);
  }
}

TEST_CASE("groups of lanes with masks of their own do not wait for each other", "[simt]") {
  for (int repeat = 0; repeat < 8; ++repeat) {
    std::vector<int> out(32);
    SEQ1F1B_LAUNCH(halves, 1, 32, 0, nullptr, out.data());
    for (int lane = 0; lane < 32; ++lane)
      REQUIRE(out[static_cast<std::size_t>(lane)] == (lane < 16 ? lane + 2 : (lane ^ 1) + 5));
  }
}

TEST_CASE("warps whose lanes diverge are reported", "[simt]") {
  std::vector<int> out(32);
  const auto report = [&](auto kernel, unsigned threads) {
    return report_of([&](cudaStream_t stream) {
      using K = decltype(kernel);
      if constexpr (std::is_invocable_v<typename K::value_type, int*>)
        SEQ1F1B_LAUNCH(K::value, 1, threads, 0, stream, out.data());
      else
        SEQ1F1B_LAUNCH(K::value, 1, threads, 0, stream);
    });
  };
  CHECK(contains(report(Kernel<lane_exits_early>{}, 32), "lane 5 is in the mask but has exited"));
  CHECK(contains(report(Kernel<lane_exits_late>{}, 32), "lane 5 is in the mask but has exited"));
  CHECK(contains(report(Kernel<lane_exits_early>{}, 16), "or the block ends before it"));
  CHECK(contains(report(Kernel<different_operations>{}, 32), "lanes diverge"));
  CHECK(contains(report(Kernel<different_operations>{}, 32), "__ballot_sync (warp_test.cpp:"));
  CHECK(contains(report(Kernel<different_places>{}, 32), "lanes diverge"));
  // Those of the smaller mask may come first, and be gone when the others ask for them.
  const std::string masks = report(Kernel<different_masks>{}, 32);
  CHECK((contains(masks, "lanes diverge") || contains(masks, "has exited")));
  CHECK(contains(report(Kernel<caller_left_out>{}, 32), "leaves out the caller"));
  CHECK(contains(report(Kernel<reads_outside_the_mask>{}, 32),
                 "reads lane 20, which is not in the mask"));
  CHECK(contains(report(Kernel<lane_at_a_barrier>{}, 32), "deadlock"));
}

}  // namespace seq1f1b::simt::testing
