#pragma once
// output[c] += sum over n of partials[n, c], fp32: how sums over rows end after blocks of rows have
// left their partial sums.
//
// Bytes: partials once (they lie in L2), output read and written once.
// Mapping: a block owns 32 columns; warp w adds the w-th of 32 equal ranges of partials, in order,
// and the first warp adds the ranges' sums in order. Deterministic: the order depends on the number
// of partials alone. Limits: none.
#include "kernels/cuda/device_code/reduce.h"
#include "kernels/cuda/launch.h"

namespace seq1f1b::kernels::cuda {

struct ColumnSums {
  const float* partials;  // [count, width]
  float* output;          // [width]
};

template <int kRanges>
__global__ void __launch_bounds__(kWarp* kRanges)
    add_columns_kernel(ColumnSums first, ColumnSums second, std::int64_t count,
                       std::int64_t width) {
  SEQ1F1B_SHARED(sums, float[kRanges][kWarp]);
  const ColumnSums job = blockIdx.y == 0 ? first : second;
  const int lane = threadIdx.x % kWarp, range = threadIdx.x / kWarp;
  const std::int64_t column = static_cast<std::int64_t>(blockIdx.x) * kWarp + lane;
  const std::int64_t size = (count + kRanges - 1) / kRanges;
  const std::int64_t end = min(count, (range + 1) * size);
  float sum = 0;
  if (column < width) {
#pragma unroll 8
    for (std::int64_t n = range * size; n < end; ++n) sum += job.partials[n * width + column];
  }
  sums[range][lane] = sum;
  __syncthreads();
  if (range != 0 || column >= width) return;
#pragma unroll
  for (int r = 1; r < kRanges; ++r) sum += sums[r][lane];
  job.output[column] += sum;
}

// One or two jobs of the same shape; a job without output is none.
inline void add_columns(Context& context, ColumnSums first, ColumnSums second, std::int64_t count,
                        std::int64_t width) {
  const dim3 grid(static_cast<unsigned>(ceil_div(width, kWarp)), second.output ? 2 : 1);
  constexpr int kFew = 4, kMany = 32;
  if (count <= 8 * kFew)
    SEQ1F1B_LAUNCH((add_columns_kernel<kFew>), grid, kFew * kWarp, 0, context.stream, first, second,
                   count, width);
  else
    SEQ1F1B_LAUNCH((add_columns_kernel<kMany>), grid, kMany * kWarp, 0, context.stream, first,
                   second, count, width);
}

}  // namespace seq1f1b::kernels::cuda
