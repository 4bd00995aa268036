// The carry's gradient of one segment into its accumulator.
//   accumulator[p, j, d] (+)= contribution[p, j, d], j < rows
// Moves 2 + 4 (+ 4) bytes per element, in packets of four elements where head_dim allows. A thread
// strides over the packets of one plane (grid y). Every element has one owner, so that the sum has
// the order of the calls. Limits: fewer than 2^31 packets a plane, at most 65535 planes per launch.
#include <algorithm>

#include "kernels/common/bf16.h"
#include "kernels/cuda/attention/attention_rows.h"
#include "kernels/cuda/device_code/vector.h"

namespace seq1f1b::kernels::cuda {
namespace {

constexpr int kThreads = 256;

template <int kWidth, bool kAdd>
__global__ void __launch_bounds__(kThreads)
    take(const Bf16* __restrict__ contribution, float* __restrict__ accumulator,
         std::int64_t elements, std::int64_t accumulator_stride) {
  const Bf16* const from = contribution + blockIdx.y * elements;
  float* const to = accumulator + blockIdx.y * accumulator_stride;
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * kThreads * kWidth;
  for (std::int64_t i = (static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kWidth;
       i < elements; i += step) {
    float part[kWidth], sum[kWidth] = {};
    load_values<kWidth>(from + i, part);
    if (kAdd) load_values<kWidth>(to + i, sum);
#pragma unroll
    for (int e = 0; e < kWidth; ++e) sum[e] = kAdd ? sum[e] + part[e] : part[e];
    store_values<kWidth>(to + i, sum);
  }
}

template <int kWidth>
void launch(Context& context, const Bf16* contribution, float* accumulator, std::int64_t planes,
            std::int64_t elements, std::int64_t stride, Accumulate mode) {
  const std::int64_t blocks = (elements + kThreads * kWidth - 1) / (kThreads * kWidth);
  const std::int64_t wanted = std::max<std::int64_t>(1, 8 * context.multiprocessors / planes);
  const dim3 grid(static_cast<unsigned>(std::min(blocks, wanted)), static_cast<unsigned>(planes));
  if (mode == Accumulate::kAdd)
    SEQ1F1B_LAUNCH((take<kWidth, true>), grid, kThreads, 0, context.stream, contribution,
                   accumulator, elements, stride);
  else
    SEQ1F1B_LAUNCH((take<kWidth, false>), grid, kThreads, 0, context.stream, contribution,
                   accumulator, elements, stride);
}

}  // namespace

void take_carry_gradient(Context& context, const void* contribution, std::int64_t rows,
                         const Tensor& accumulator, Accumulate mode) {
  SEQ1F1B_ASSERT(accumulator.dtype == Dtype::kF32 && accumulator.rank >= 2, describe(accumulator));
  const std::int64_t width = accumulator.dim(accumulator.rank - 1);
  const std::int64_t stride = accumulator.dim(accumulator.rank - 2) * width;
  const std::int64_t planes = accumulator.elements() / stride;
  SEQ1F1B_ASSERT(rows > 0 && rows * width <= stride && planes <= 65535, rows, " rows of ",
                 describe(accumulator));
  const auto* const from = static_cast<const Bf16*>(contribution);
  if (width % 4 == 0)
    launch<4>(context, from, accumulator.as<float>(), planes, rows * width, stride, mode);
  else
    launch<1>(context, from, accumulator.as<float>(), planes, rows * width, stride, mode);
}

}  // namespace seq1f1b::kernels::cuda
