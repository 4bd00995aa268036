// The part of the probe for compute capability 9.0: where TMA puts the elements of a box, and the
// sums of wgmma for every order of the operands. Panels hold arbitrary bytes: what the hardware
// reads from where is the question.
#include <cstdio>

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
}

}  // namespace seq1f1b::kernels::cuda::probe
