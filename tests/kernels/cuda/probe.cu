// Prints what the matrix instructions do with known operands: which element a lane gets from
// ldmatrix, and the fragments of mma for small integers, where every sum is exact. And what a few
// roundings do. Built for the
// GPU (cuda_probe) and for the emulator (simt_probe); fragments.txt is the emulator's print, and
// equality with a GPU's proves the layouts that the emulator, and so every emulated test, assumes.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <vector>

#include "kernels/common/errors.h"
#include "kernels/cuda/device_code/ptx.h"
#include "tests/kernels/cuda/probe.h"

using namespace seq1f1b::kernels;
using namespace seq1f1b::kernels::cuda;
using namespace seq1f1b::kernels::cuda::probe;

namespace {

constexpr int kLanes = 32, kTrials = 4;

// One warp. Element i of shared memory holds the number i; rows of eight.
__global__ void probe_ldmatrix(bool transposed, std::uint32_t* output) {
  SEQ1F1B_DYNAMIC_SHARED(shared);
  auto* elements = reinterpret_cast<std::uint16_t*>(shared);
  for (int i = static_cast<int>(threadIdx.x); i < 256; i += kLanes)
    elements[i] = static_cast<std::uint16_t>(i);
  __syncwarp();
  std::uint32_t r[4];
  const std::uint32_t address = shared_address(elements + threadIdx.x * 8);
  if (transposed)
    ldmatrix_x4_trans(r, address);
  else
    ldmatrix_x4(r, address);
  for (int i = 0; i < 4; ++i) output[threadIdx.x * 4 + static_cast<unsigned>(i)] = r[i];
}

// One warp per trial; lane l reads its six registers at input[l * 6].
__global__ void probe_mma(const std::uint32_t* input, float* output) {
  const unsigned lane = blockIdx.x * kLanes + threadIdx.x;
  std::uint32_t a[4];
  for (unsigned i = 0; i < 4; ++i) a[i] = input[lane * 6 + i];
  float d[4];
  for (unsigned i = 0; i < 4; ++i) d[i] = static_cast<float>(i);
  mma_bf16_16816(d, a, input[lane * 6 + 4], input[lane * 6 + 5]);
  for (unsigned i = 0; i < 4; ++i) output[lane * 4 + i] = d[i];
}

// What attention's running sums rest on: 2^0 is one and 2^-inf zero; which half a pair's numbers go
// to, and that ties round to the even one.
__global__ void probe_scalars(const float* input, float* powers, std::uint32_t* pairs) {
  powers[threadIdx.x] = exp2_approx(input[threadIdx.x]);
  pairs[threadIdx.x] = pack_bf16(input[threadIdx.x], -input[threadIdx.x]);
}

void print_scalars() {
  const std::vector<float> numbers{0, -HUGE_VALF, 1 + 1.0f / 256, 1 + 3.0f / 256};
  Memory<float> input(numbers.size()), powers(numbers.size());
  Memory<std::uint32_t> pairs(numbers.size());
  input.write(numbers);
  SEQ1F1B_LAUNCH(probe_scalars, 1, static_cast<unsigned>(numbers.size()), 0, cudaStream_t{},
                 input.data(), powers.data(), pairs.data());
  const std::vector<float> found = powers.read();
  std::printf("exp2_approx of 0 and -inf: %.9g %.9g\n", static_cast<double>(found[0]),
              static_cast<double>(found[1]));
  const std::vector<std::uint32_t> packed = pairs.read();
  for (std::size_t i = 2; i < numbers.size(); ++i)
    std::printf("pack_bf16 of %.9g and its negative: %08x\n", static_cast<double>(numbers[i]),
                packed[i]);
}

void print_ldmatrix(bool transposed) {
  Memory<std::uint32_t> output(kLanes * 4);
  SEQ1F1B_LAUNCH(probe_ldmatrix, 1, kLanes, 512, cudaStream_t{}, transposed, output.data());
  const std::vector<std::uint32_t> registers = output.read();
  for (std::size_t lane = 0; lane < kLanes; ++lane) {
    std::printf("ldmatrix_x4%s lane %zu:", transposed ? "_trans" : "", lane);
    for (std::size_t i = 0; i < 4; ++i)
      std::printf(" %u,%u", registers[lane * 4 + i] & 0xffffu, registers[lane * 4 + i] >> 16);
    std::printf("\n");
  }
}

void print_mma() {
  const std::vector<std::uint32_t> fragments = small_pairs(kTrials * kLanes * 6);
  Memory<std::uint32_t> input(fragments.size());
  Memory<float> output(kTrials * kLanes * 4);
  input.write(fragments);
  SEQ1F1B_LAUNCH(probe_mma, kTrials, kLanes, 0, cudaStream_t{}, input.data(), output.data());
  const std::vector<float> sums = output.read();
  for (std::size_t lane = 0; lane < kTrials * kLanes; ++lane)
    std::printf("mma_bf16_16816 trial %zu lane %zu: %g %g %g %g\n", lane / kLanes, lane % kLanes,
                sums[lane * 4], sums[lane * 4 + 1], sums[lane * 4 + 2], sums[lane * 4 + 3]);
}

}  // namespace

int main() {
  std::setvbuf(stdout, nullptr, _IOLBF, BUFSIZ);  // nothing is lost where a kernel never ends
  try {
    print_scalars();
    print_ldmatrix(false);
    print_ldmatrix(true);
    print_mma();
    cudaDeviceProp properties{};
    check(cudaGetDeviceProperties(&properties, 0), "asking for the GPU's properties");
    if (properties.major == 9)
      print_sm90();
    else
      std::printf("compute capability %d.%d: no TMA and wgmma of 9.0\n", properties.major,
                  properties.minor);
  } catch (const seq1f1b::Error& error) {
    std::fprintf(stderr, "probe: %s\n", error.what());
    return error.code();
  }
  return 0;
}
