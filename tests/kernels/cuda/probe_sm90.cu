// The part of the probe for compute capability 9.0: where TMA puts the elements of a box and takes
// them from, the sums of wgmma for every order of the operands, and whether warp groups that
// exchange registers, tiles and turns as the attention kernels do come to an end. Panels hold
// arbitrary bytes: what the hardware reads from where is the question.
#include <cstdio>

#include "kernels/cuda/attention/attention_sm90_roles.h"
#include "kernels/cuda/attention/tensor_map.h"
#include "kernels/cuda/device_code/ptx_sm90.h"
#include "tests/kernels/cuda/probe.h"

namespace seq1f1b::kernels::cuda::probe {
namespace {

constexpr int kThreads = 128, kRows = 16, kPanelBytes = 64 * 128;

// One box of 64 elements times kRows, printed as it lies in shared memory.
__global__ void probe_tma(const __grid_constant__ TensorMap map, int column, int row,
                          std::uint16_t* output) {
#if SEQ1F1B_SM90
  SEQ1F1B_DYNAMIC_SHARED(shared);
  const std::uint32_t box = shared_address(shared), barrier = box + kRows * 128;
  if (threadIdx.x == 0) {
    mbarrier_init(barrier, 1);
    fence_mbarrier_init();
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    mbarrier_arrive_expect(barrier, kRows * 128);
    tma_load_4d(box, &map, column, row, 0, 0, barrier);
  }
  mbarrier_wait(barrier, 0);
  const auto* elements = reinterpret_cast<const std::uint16_t*>(shared);
  for (int i = static_cast<int>(threadIdx.x); i < kRows * 64; i += kThreads)
    output[i] = elements[i];
#endif
}

// The other way: element i of the box, as it lies in shared memory, is the number i + 1.
__global__ void probe_tma_store(const __grid_constant__ TensorMap map, int column, int row) {
#if SEQ1F1B_SM90
  SEQ1F1B_DYNAMIC_SHARED(shared);
  auto* elements = reinterpret_cast<std::uint16_t*>(shared);
  for (int i = static_cast<int>(threadIdx.x); i < kRows * 64; i += kThreads)
    elements[i] = static_cast<std::uint16_t>(i + 1);
  fence_proxy_async();
  __syncthreads();
  if (threadIdx.x != 0) return;
  tma_store_4d(&map, column, row, 0, 0, shared_address(shared));
  bulk_commit();
  bulk_wait_read<0>();
#endif
}

// Every block adds the number of each thread to output[thread].
__global__ void probe_bulk_add(float* output, std::uint32_t* misaligned) {
#if SEQ1F1B_SM90
  SEQ1F1B_DYNAMIC_SHARED(shared);
  reinterpret_cast<float*>(shared)[threadIdx.x] = static_cast<float>(threadIdx.x);
  fence_proxy_async();
  __syncthreads();
  if (threadIdx.x != 0) return;
  *misaligned = shared_address(shared) % 1024;
  bulk_reduce_add_f32(output, shared_address(shared), kThreads * 4);
  bulk_commit();
  bulk_wait_read<0>();
#endif
}

// The warp groups of an attention kernel: one loads tiles of a number per thread, the others take
// turns in reading them. sums[thread of those] depends on the order of the tiles.
template <int kConsumers>
__global__ void __launch_bounds__(sm90::WarpGroups<kConsumers>::kThreads, 1)
    probe_roles(const float* tiles, int rounds, float* sums) {
#if SEQ1F1B_SM90
  constexpr int kTileBytes = sm90::kGroup * 4;
  using Tiles = sm90::Ring<2, kTileBytes, 0, 2 * kTileBytes>;
  SEQ1F1B_DYNAMIC_SHARED(shared_bytes);
  const std::uint32_t shared = shared_address(shared_bytes);
  const auto load = [&] {
    typename Tiles::Place place;
    for (int round = 0; round < rounds; ++round)
      Tiles::fill(shared, place, [&](std::uint32_t tile, std::uint32_t barrier) {
        bulk_load(tile, tiles + round * sm90::kGroup, kTileBytes, barrier);
      });
  };
  const auto compute = [&] {
    const int thread = static_cast<int>(threadIdx.x) - sm90::kGroup, w = thread / sm90::kGroup;
    const int next = w + 1 == kConsumers ? 0 : w + 1;
    const auto pass_turn = [&] { barrier_arrive(1 + next, 2 * sm90::kGroup); };
    if (rounds > 0 && next == 0) pass_turn();
    float sum = 0;
    typename Tiles::Place place;
    for (int round = 0; round < rounds; ++round, place.advance()) {
      barrier_sync(1 + w, 2 * sm90::kGroup);
      Tiles::wait(shared, place);
      const auto* tile = reinterpret_cast<const float*>(shared_bytes + place.stage * kTileBytes);
      sum = 3 * sum + tile[thread % sm90::kGroup];
      __syncwarp();
      Tiles::release(shared, place.stage, thread % 32);
      if (round + 1 < rounds || next != 0) pass_turn();
    }
    sums[thread] = sum;
  };
  sm90::run_roles<sm90::WarpGroups<kConsumers>>([&] { Tiles::initialise(shared, 4 * kConsumers); },
                                                load, compute);
#endif
}

// Four steps over one panel of a and as many of b as kN columns take, the last one perhaps in part.
// kRegisters: a's fragments come from `registers`.
constexpr int panels_of(int columns) { return (columns + 63) / 64; }
template <int kN, Along kA, Along kB, bool kRegisters>
__global__ void probe_wgmma(const std::uint32_t* panels, const std::uint32_t* registers,
                            float* output) {
#if SEQ1F1B_SM90
  SEQ1F1B_DYNAMIC_SHARED(shared);
  auto* words = reinterpret_cast<std::uint32_t*>(shared);
  constexpr int kWords = (1 + panels_of(kN)) * kPanelBytes / 4;
  for (int i = static_cast<int>(threadIdx.x); i < kWords; i += kThreads) words[i] = panels[i];
  fence_proxy_async();
  __syncthreads();
  float d[kN / 2] = {};
  std::uint32_t a[4][4];
  for (unsigned k = 0; k < 4; ++k)
    for (unsigned i = 0; i < 4; ++i) a[k][i] = registers[(threadIdx.x * 4 + k) * 4 + i];
  const std::uint32_t panel_a = shared_address(shared), panel_b = panel_a + kPanelBytes;
  wgmma_fence();
#pragma unroll
  for (std::uint32_t k = 0; k < 4; ++k) {
    const std::uint64_t step_b =
        panel_descriptor(panel_b + k * (kB == Along::kInner ? 32 : 2048), kPanelBytes);
    if constexpr (kRegisters)
      wgmma_rs<kN, kB, true>(d, a[k], step_b);
    else
      wgmma_ss<kN, kA, kB, true>(
          d, panel_descriptor(panel_a + k * (kA == Along::kInner ? 32 : 2048), kPanelBytes),
          step_b);
  }
  wgmma_commit();
  wgmma_wait<0>();
  wgmma_arrived(d);
  for (int i = 0; i < kN / 2; ++i) output[static_cast<int>(threadIdx.x) * (kN / 2) + i] = d[i];
#endif
}

// Element i of a tensor of `width` x 24 holds the number i; the box at (column, 12) ends beyond it.
void print_tma(const char* name, unsigned width, int column) {
  std::vector<std::uint16_t> numbers(width * 24);
  for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<std::uint16_t>(i);
  Memory<std::uint16_t> tensor(numbers.size()), output(kRows * 64);
  tensor.write(numbers);
  const TensorMap map = make_tensor_map(tensor.data(), {.extent = {width, 24, 1, 1},
                                                        .stride = {width, width * 24, width * 24},
                                                        .box = {64, kRows, 1, 1}});
  SEQ1F1B_LAUNCH(probe_tma, 1, kThreads, kRows * 128 + 64, cudaStream_t{}, map, column, 12,
                 output.data());
  const std::vector<std::uint16_t> box = output.read();
  for (std::size_t row = 0; row < kRows; ++row) {
    std::printf("%s row %zu, first of every 16 bytes:", name, row);
    for (std::size_t chunk = 0; chunk < 8; ++chunk) std::printf(" %u", box[row * 64 + chunk * 8]);
    std::printf("\n");
  }
}

// Into a tensor of 80 x 24 zeros: the box at (48, 12) ends beyond both its columns and its rows.
void print_tma_store() {
  constexpr unsigned kWidth = 80, kHeight = 24;
  Memory<std::uint16_t> tensor(kWidth * kHeight);
  tensor.write(std::vector<std::uint16_t>(kWidth * kHeight));
  const TensorMap map =
      make_tensor_map(tensor.data(), {.extent = {kWidth, kHeight, 1, 1},
                                      .stride = {kWidth, kWidth * kHeight, kWidth * kHeight},
                                      .box = {64, kRows, 1, 1}});
  SEQ1F1B_LAUNCH(probe_tma_store, 1, kThreads, kRows * 128, cudaStream_t{}, map, 48, 12);
  const std::vector<std::uint16_t> stored = tensor.read();
  for (std::size_t row = 0; row < kHeight; ++row) {
    std::printf("tma_store_4d row %zu, first of every 16 bytes:", row);
    for (std::size_t column = 0; column < kWidth; column += 8)
      std::printf(" %u", stored[row * kWidth + column]);
    std::printf("\n");
  }
}

void print_bulk_add() {
  Memory<float> output(kThreads);
  Memory<std::uint32_t> misaligned(1);
  output.write(std::vector<float>(kThreads, 100));
  SEQ1F1B_LAUNCH(probe_bulk_add, 3, kThreads, kThreads * 4, cudaStream_t{}, output.data(),
                 misaligned.data());
  const std::vector<float> sums = output.read();
  std::printf("bulk_reduce_add_f32:");
  for (std::size_t i = 0; i < kThreads; i += 9) std::printf(" %g", sums[i]);
  std::printf("\ndynamic shared memory begins %u bytes behind a multiple of 1024\n",
              misaligned.read()[0]);
}

template <int kConsumers>
void print_roles() {
  constexpr int kGroup = sm90::kGroup;
  for (int rounds : {0, 1, 2, 3, 6}) {
    std::vector<float> numbers(static_cast<std::size_t>(kGroup * std::max(rounds, 1)));
    for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<float>(i % 11);
    Memory<float> tiles(numbers.size()), output(kGroup * kConsumers);
    tiles.write(numbers);
    SEQ1F1B_LAUNCH(probe_roles<kConsumers>, 1, sm90::WarpGroups<kConsumers>::kThreads,
                   2 * kGroup * 4 + 64, cudaStream_t{}, tiles.data(), rounds, output.data());
    std::printf("%d computing warp groups, %d tiles:", kConsumers, rounds);
    const std::vector<float> sums = output.read();
    for (std::size_t i = 0; i < sums.size(); i += 37) std::printf(" %g", sums[i]);
    std::printf("\n");
  }
}

template <int kN, Along kA, Along kB, bool kRegisters>
void print_wgmma(const char* name) {
  const std::vector<std::uint32_t> pairs =
      small_pairs(static_cast<std::size_t>(kThreads * 16 + (1 + panels_of(kN)) * kPanelBytes / 4));
  Memory<std::uint32_t> input(pairs.size());
  Memory<float> output(kThreads * kN / 2);
  input.write(pairs);
  allow_shared_bytes(probe_wgmma<kN, kA, kB, kRegisters>, (1 + panels_of(kN)) * kPanelBytes);
  SEQ1F1B_LAUNCH((probe_wgmma<kN, kA, kB, kRegisters>), 1, kThreads,
                 (1 + panels_of(kN)) * kPanelBytes, cudaStream_t{}, input.data() + kThreads * 16,
                 input.data(), output.data());
  const std::vector<float> sums = output.read();
  // Integers all; a thread's are folded into one number that depends on their places.
  for (std::size_t thread = 0; thread < kThreads; ++thread) {
    std::uint32_t folded = 0;
    for (std::size_t i = 0; i < kN / 2; ++i)
      folded =
          folded * 31u + static_cast<std::uint32_t>(static_cast<int>(sums[thread * (kN / 2) + i]));
    std::printf("%s thread %zu: %g %g %g %g, all %08x\n", name, thread, sums[thread * (kN / 2)],
                sums[thread * (kN / 2) + 1], sums[thread * (kN / 2) + 2],
                sums[thread * (kN / 2) + 3], folded);
  }
}

}  // namespace

void print_sm90() {
  constexpr Along kInner = Along::kInner, kOuter = Along::kOuter;
  print_tma("tma_load_4d", 128, 64);
  print_wgmma<64, kInner, kInner, false>("wgmma_ss n64 inner inner");
  print_wgmma<64, kOuter, kInner, false>("wgmma_ss n64 outer inner");
  print_wgmma<128, kInner, kOuter, false>("wgmma_ss n128 inner outer");
  print_wgmma<128, kInner, kInner, true>("wgmma_rs n128 inner");
  print_wgmma<64, kInner, kOuter, true>("wgmma_rs n64 outer");
  print_tma("tma_load_4d of 80 columns from 48 on", 80, 48);
  print_wgmma<48, kOuter, kOuter, false>("wgmma_ss n48 outer outer");
  print_wgmma<80, kInner, kInner, false>("wgmma_ss n80 inner inner");
  print_wgmma<80, kInner, kOuter, true>("wgmma_rs n80 outer");
  print_wgmma<96, kInner, kOuter, true>("wgmma_rs n96 outer");
  print_wgmma<256, kInner, kOuter, true>("wgmma_rs n256 outer");
  print_wgmma<112, kInner, kInner, false>("wgmma_ss n112 inner inner");
  print_tma_store();
  print_bulk_add();
  // Last, for they hang where something is amiss.
  print_roles<2>();
  print_roles<3>();
}

}  // namespace seq1f1b::kernels::cuda::probe
