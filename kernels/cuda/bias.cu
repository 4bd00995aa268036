// grad_bias[o] += sum over t of grad_output[t, o].
//
// Bytes: grad_output once; partial sums of 4 bytes per column and block of at least 64 rows. Bound
// by memory.
// Mapping: a block takes one share of rows and the columns of a warp's packets; its 8 warps take
// every eighth row each, four rows in flight, and are added in warp order. A second kernel adds the
// blocks' partial sums. Deterministic: the shares depend on the shape alone. Limits: none.
#include "kernels/cuda/device_code/column_sums.h"
#include "kernels/cuda/device_code/vector.h"
#include "kernels/cuda/kernels.h"
#include "kernels/cuda/scratch_pointwise.h"

namespace seq1f1b::kernels::cuda {
namespace {

constexpr int kRowWarps = 8, kInFlight = 4;

template <class T, int kWidth>
__global__ void __launch_bounds__(kRowWarps* kWarp)
    bias_partials_kernel(const T* grad_output, std::int64_t rows, std::int64_t width,
                         std::int64_t share, float* partials) {
  SEQ1F1B_SHARED(sums, float[kRowWarps][kWidth][kWarp]);
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  const std::int64_t column = (static_cast<std::int64_t>(blockIdx.x) * kWarp + lane) * kWidth;
  const std::int64_t begin = blockIdx.y * share, end = min(rows, begin + share);
  float sum[kWidth] = {};
  if (column < width) {
    const T* values = grad_output + column;
    for (std::int64_t row = begin + warp; row < end; row += kRowWarps * kInFlight) {
      Packet<T, kWidth> held[kInFlight];
#pragma unroll
      for (int k = 0; k < kInFlight; ++k)
        if (row + k * kRowWarps < end) held[k].load(values + (row + k * kRowWarps) * width);
#pragma unroll
      for (int k = 0; k < kInFlight; ++k) {
        if (row + k * kRowWarps >= end) break;
        float x[kWidth];
        held[k].unpack(x);
#pragma unroll
        for (int i = 0; i < kWidth; ++i) sum[i] += x[i];
      }
    }
  }
#pragma unroll
  for (int i = 0; i < kWidth; ++i) sums[warp][i][lane] = sum[i];
  __syncthreads();
  if (warp != 0 || column >= width) return;
#pragma unroll
  for (int i = 0; i < kWidth; ++i)
#pragma unroll
    for (int w = 1; w < kRowWarps; ++w) sum[i] += sums[w][i][lane];
  store_floats<kWidth>(partials + blockIdx.y * width + column, sum);
}

}  // namespace

void bias_grad(Context& context, const Tensor& grad_output, const Tensor& grad_bias) {
  const std::int64_t width = grad_bias.elements();
  if (grad_output.elements() == 0) return;
  const std::int64_t rows = grad_output.elements() / width;
  const Shares shares = bias_shares(rows, width);
  auto* partials = context.scratch.take<float>(static_cast<std::size_t>(shares.count * width));
  with_compute_type(grad_output.dtype, [&](auto element) {
    using T = typename decltype(element)::Type;
    const bool wide = aligned_to(16, grad_output) && width % kFullWidth<T> == 0;
    with_width<kFullWidth<T>>(wide, [&](auto packet) {
      constexpr int kWidth = decltype(packet)::value;
      const dim3 grid(static_cast<unsigned>(ceil_div(width, kWarp * kWidth)),
                      static_cast<unsigned>(shares.count));
      SEQ1F1B_LAUNCH((bias_partials_kernel<T, kWidth>), grid, kRowWarps * kWarp, 0, context.stream,
                     grad_output.as<const T>(), rows, width, shares.size, partials);
    });
  });
  add_columns(context, {partials, grad_bias.as<float>()}, {}, shares.count, width);
}

}  // namespace seq1f1b::kernels::cuda
