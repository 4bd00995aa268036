// The matrix instructions against matrices taken apart and put together by the figures of the PTX
// ISA manual ("Matrix Fragments for mma.m16n8k16 with floating point type", "Warp-level matrix load
// instruction: ldmatrix"), written here from the manual's formulas, not from the emulator's code.
#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/common/bf16.h"
#include "kernels/common/philox.h"
#include "kernels/cuda/device_code/language.h"
#include "kernels/cuda/device_code/ptx.h"
#include "kernels/simt/kernel_report.h"
#include "tests/catch.h"

namespace seq1f1b::simt::testing {
namespace {

namespace cuda = kernels::cuda;
using kernels::Bf16;

float draw(std::uint64_t key, std::size_t i) {
  return static_cast<float>(Bf16(static_cast<float>(kernels::philox_normal(key, i))));
}

// a [16, 16], b [16, 8], d [16, 8], all row-major fp32 in memory.
__global__ void multiply(const float* a, const float* b, float* d) {
  const int lane = static_cast<int>(threadIdx.x);
  const int group = lane >> 2, in_group = lane % 4;  // the manual's groupID, threadID_in_group
  std::uint32_t fragment_a[4], fragment_b[2];
  for (int i = 0; i < 8; i += 2) {
    // row = groupID for ai where 0 <= i < 2 || 4 <= i < 6, else groupID + 8;
    // col = threadID_in_group * 2 + (i & 1), + 8 for ai where i >= 4
    const int row = i < 2 || (i >= 4 && i < 6) ? group : group + 8;
    const int column = in_group * 2 + (i >= 4 ? 8 : 0);
    fragment_a[i / 2] = cuda::pack_bf16(a[row * 16 + column], a[row * 16 + column + 1]);
  }
  for (int i = 0; i < 4; i += 2) {
    // row = threadID_in_group * 2 + (i & 1), + 8 for bi where i >= 2; col = groupID
    const int row = in_group * 2 + (i >= 2 ? 8 : 0);
    fragment_b[i / 2] = cuda::pack_bf16(b[row * 8 + group], b[(row + 1) * 8 + group]);
  }
  float fragment_d[4];
  for (int i = 0; i < 4; ++i)  // row = groupID for ci where i < 2, else + 8
    fragment_d[i] = d[(group + (i < 2 ? 0 : 8)) * 8 + in_group * 2 + (i & 1)];
  cuda::mma_bf16_16816(fragment_d, fragment_a, fragment_b[0], fragment_b[1]);
  for (int i = 0; i < 4; ++i)
    d[(group + (i < 2 ? 0 : 8)) * 8 + in_group * 2 + (i & 1)] = fragment_d[i];
}

// Rows of the four matrices lie 48 bytes apart, backwards, so that nothing fits by accident.
template <bool kTransposed>
__global__ void load_matrices(std::uint32_t* out) {
  SEQ1F1B_DYNAMIC_SHARED(memory);
  auto* elements = reinterpret_cast<std::uint16_t*>(memory);
  const unsigned lane = threadIdx.x;
  for (unsigned column = 0; column < 8; ++column)
    elements[(31 - lane) * 24 + column] = static_cast<std::uint16_t>(100 * lane + column);
  __syncthreads();
  std::uint32_t r[4];
  const std::uint32_t row = cuda::shared_address(memory) + (31 - lane) * 48;
  if (kTransposed)
    cuda::ldmatrix_x4_trans(r, row);
  else
    cuda::ldmatrix_x4(r, row);
  for (unsigned m = 0; m < 4; ++m) out[lane * 4 + m] = r[m];
}

// Copies 16 bytes per thread and stage; reads with `kPending` groups allowed to be under way.
template <int kPending, bool kBarrier = true>
__global__ void copy_stages(const float* in, float* out, int stages) {
  SEQ1F1B_DYNAMIC_SHARED(memory);
  const unsigned threads = blockDim.x;
  for (int stage = 0; stage < stages; ++stage) {
    const unsigned i = static_cast<unsigned>(stage) * threads + threadIdx.x;
    cuda::cp_async_16(cuda::shared_address(memory) + 16 * i, in + 4 * i, threadIdx.x != 7);
    cuda::cp_async_commit();
  }
  cuda::cp_async_wait<kPending>();
  if (kBarrier) __syncthreads();
  for (int stage = 0; stage < stages; ++stage) {
    const unsigned mirrored = threads - 1 - threadIdx.x;
    const unsigned i = 4 * (static_cast<unsigned>(stage) * threads + mirrored);
    for (unsigned j = 0; j < 4; ++j) out[i + j] = reinterpret_cast<float*>(memory)[i + j];
  }
  __syncthreads();
  cuda::cp_async_wait<0>();
}
__global__ void copy_misaligned(const char* in) {
  SEQ1F1B_DYNAMIC_SHARED(memory);
  cuda::cp_async_16(cuda::shared_address(memory), in + 4, true);
}
__global__ void copy_without_commit(const float* in, float* out, bool commit, bool wait) {
  SEQ1F1B_DYNAMIC_SHARED(memory);
  cuda::cp_async_16(cuda::shared_address(memory), in, true);
  cuda::cp_async_wait<0>();
  out[0] = reinterpret_cast<float*>(memory)[0];
  if (commit) cuda::cp_async_commit();
  if (wait) cuda::cp_async_wait<0>();
}

constexpr unsigned kThreads = 64;
struct Copies {
  alignas(16) float in[3 * 4 * kThreads];
  float out[3 * 4 * kThreads];
  Copies() {
    for (unsigned i = 0; i < 3 * 4 * kThreads; ++i) in[i] = static_cast<float>(i + 1);
  }
  // Of a stage: 0 where nothing is right, 1 where all is.
  double right(unsigned stage) const {
    double count = 0;
    for (unsigned i = 0; i < 4 * kThreads; ++i) {
      const float expected = i / 4 == 7 ? 0 : in[4 * kThreads * stage + i];
      count += out[4 * kThreads * stage + i] == expected;
    }
    return count / (4 * kThreads);
  }
  double nans(unsigned stage) const {
    double count = 0;
    for (unsigned i = 0; i < 4 * kThreads; ++i) count += std::isnan(out[4 * kThreads * stage + i]);
    return count / (4 * kThreads);
  }
};

// Four words `offset` bytes into `words`, and back to where they came from.
template <bool kStore>
__global__ void move_words(std::uint32_t* words, int offset) {
  auto* const at = reinterpret_cast<std::byte*>(words) + offset;
  if constexpr (kStore) {
    cuda::store_16(at, 1, 2, 3, 4);
    cuda::store_8(at + 16, 5, 6);
  } else {
    const uint4 four = cuda::access_as<const uint4>(at);
    words[0] = four.w;
  }
}

}  // namespace

TEST_CASE("mma.m16n8k16 multiplies and adds", "[simt]") {
  std::vector<float> a(16 * 16), b(16 * 8), d(16 * 8);
  for (std::size_t i = 0; i < a.size(); ++i) a[i] = draw(1, i);
  for (std::size_t i = 0; i < b.size(); ++i) b[i] = draw(2, i);
  for (std::size_t i = 0; i < d.size(); ++i) d[i] = draw(3, i);
  std::vector<double> expected(d.begin(), d.end());
  for (std::size_t row = 0; row < 16; ++row)
    for (std::size_t column = 0; column < 8; ++column)
      for (std::size_t k = 0; k < 16; ++k)
        expected[row * 8 + column] += double{a[row * 16 + k]} * double{b[k * 8 + column]};
  SEQ1F1B_LAUNCH(multiply, 1, 32, 0, nullptr, a.data(), b.data(), d.data());
  for (std::size_t i = 0; i < d.size(); ++i) CHECK(d[i] == Approx(expected[i]).margin(1e-5));
}

TEST_CASE("ldmatrix hands out rows, and columns when transposed", "[simt]") {
  std::vector<std::uint32_t> plain(128), transposed(128);
  SEQ1F1B_LAUNCH((load_matrices<false>), 1, 32, 32 * 48, nullptr, plain.data());
  SEQ1F1B_LAUNCH((load_matrices<true>), 1, 32, 32 * 48, nullptr, transposed.data());
  for (unsigned lane = 0; lane < 32; ++lane)
    for (unsigned m = 0; m < 4; ++m)
      for (unsigned half = 0; half < 2; ++half) {
        const auto of = [&](unsigned row, unsigned column) { return 100 * (8 * m + row) + column; };
        const unsigned line = lane / 4, pair = 2 * (lane % 4) + half;
        CHECK((plain[lane * 4 + m] >> 16 * half & 0xffff) == of(line, pair));
        CHECK((transposed[lane * 4 + m] >> 16 * half & 0xffff) == of(pair, line));
      }
}

TEST_CASE("cp.async lands with the wait that covers it, and is NaN before", "[simt]") {
  const std::size_t bytes = sizeof(Copies::in);
  Copies complete, partial, unguarded;
  SEQ1F1B_LAUNCH((copy_stages<0>), 1, kThreads, bytes, nullptr, complete.in, complete.out, 3);
  for (unsigned stage = 0; stage < 3; ++stage) CHECK(complete.right(stage) == 1);

  SEQ1F1B_LAUNCH((copy_stages<1>), 1, kThreads, bytes, nullptr, partial.in, partial.out, 3);
  CHECK(partial.right(0) == 1);
  CHECK(partial.right(1) == 1);
  CHECK(partial.nans(2) == 1);

  // Half the threads read what another thread has not waited for.
  SEQ1F1B_LAUNCH((copy_stages<0, false>), 1, kThreads, bytes, nullptr, unguarded.in, unguarded.out,
                 1);
  CHECK(unguarded.nans(0) > 0);

  Copies uncommitted;
  SEQ1F1B_LAUNCH(copy_without_commit, 1, 1, bytes, nullptr, uncommitted.in, uncommitted.out, true,
                 true);
  CHECK(std::isnan(uncommitted.out[0]));
}

TEST_CASE("cp.async that nobody waits for is reported", "[simt]") {
  Copies copies;
  for (const bool commit : {false, true}) {
    INFO("committed " << commit);
    CHECK(contains(report_of([&](cudaStream_t stream) {
                     SEQ1F1B_LAUNCH(copy_without_commit, 1, 1, 64, stream, copies.in, copies.out,
                                    commit, !commit);
                   }),
                   "ended with copies to its shared memory under way"));
  }
}

TEST_CASE("cp.async from a misaligned address is reported", "[simt]") {
  alignas(16) char in[32] = {};
  CHECK(contains(report_of([&](cudaStream_t stream) {
                   SEQ1F1B_LAUNCH(copy_misaligned, 1, 1, 64, stream, in);
                 }),
                 "not a multiple of 16"));
}

TEST_CASE("wide accesses move their words, and must be aligned", "[simt]") {
  alignas(16) std::uint32_t words[12] = {};
  const auto store = [&](int offset) {
    return report_of([&](cudaStream_t stream) {
      SEQ1F1B_LAUNCH((move_words<true>), 1, 1, 0, stream, words, offset);
    });
  };
  const auto load = [&](int offset) {
    return report_of([&](cudaStream_t stream) {
      SEQ1F1B_LAUNCH((move_words<false>), 1, 1, 0, stream, words, offset);
    });
  };
  CHECK(store(16).empty());
  for (std::uint32_t i = 0; i < 6; ++i) CHECK(words[4 + i] == i + 1);
  CHECK(load(16).empty());
  CHECK(words[0] == 4);
  CHECK(contains(store(8), "access of 16 bytes at an address that is not a multiple"));
  CHECK(contains(load(4), "access of 16 bytes at an address that is not a multiple"));
}

TEST_CASE("conversions and the exponential", "[simt]") {
  CHECK(cuda::pack_bf16(1.0f, -2.0f) == 0xc0003f80u);
  CHECK(cuda::exp2_approx(3.0f) == 8.0f);
  CHECK(cuda::exp2_approx(-INFINITY) == 0.0f);
  CHECK(cuda::exp2_approx(-140.0f) == 0.0f);  // subnormal: flushed
}

}  // namespace seq1f1b::simt::testing
