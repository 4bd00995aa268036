// Row passes of attention: merging the parts of a split forward, delta of the backward, rounding of
// a query gradient summed in fp32. Formulas: attention_rows.h.
//   bytes     combine: 4 splits + 2 per element; delta: 4 (bf16) or 8 (fp32); round: 6
//   mapping   one warp per row [head_dim] of a head and token; round: flat ranges, by map.h
//   sums      lanes stride over the columns, then a fixed tree of shuffles: the same bits always
#include <limits>

#include "kernels/common/bf16.h"
#include "kernels/cuda/attention/attention_rows.h"
#include "kernels/cuda/device_code/map.h"
#include "kernels/cuda/device_code/vector.h"

namespace seq1f1b::kernels::cuda {
namespace {

constexpr int kThreads = 256, kRowsPerBlock = kThreads / 32;
constexpr int kPacket = 4;  // of combine, whose rows are whole multiples of eight (sm80_serves)

// The row of this warp in storage order [mb, tokens, heads], and where its statistic lies.
struct Row {
  std::int64_t index, statistic;
  __device__ Row(const AttentionShape& shape)
      : index(static_cast<std::int64_t>(blockIdx.x) * kRowsPerBlock + threadIdx.x / 32) {
    const std::int64_t token = index / shape.heads, head = index % shape.heads;
    const std::int64_t sequence = token / shape.tokens;
    statistic = (sequence * shape.heads + head) * shape.tokens + token % shape.tokens;
  }
};
std::int64_t row_count(const AttentionShape& shape) {
  return std::int64_t{shape.micro_batch} * shape.tokens * shape.heads;
}

__global__ void __launch_bounds__(kThreads)
    combine_kernel(AttentionShape shape, std::int64_t rows, int splits, const float* part_output,
                   const float* part_log_sum_exp, Bf16* output, float* log_sum_exp) {
  const Row row(shape);
  if (row.index >= rows) return;
  const int lane = threadIdx.x % 32;
  float highest = -std::numeric_limits<float>::infinity();
  for (int s = 0; s < splits; ++s)
    highest = fmaxf(highest, part_log_sum_exp[s * rows + row.statistic]);
  float sum = 0;
  for (int s = 0; s < splits; ++s)
    sum += expf(part_log_sum_exp[s * rows + row.statistic] - highest);
  if (lane == 0) log_sum_exp[row.statistic] = highest + logf(sum);
  const float inverse = 1 / sum;
  for (int c = lane * kPacket; c < shape.head_dim; c += 32 * kPacket) {
    float value[kPacket] = {};
    for (int s = 0; s < splits; ++s) {
      const float weight = expf(part_log_sum_exp[s * rows + row.statistic] - highest);
      float x[kPacket];
      load_values<kPacket>(part_output + (s * rows + row.index) * shape.head_dim + c, x);
#pragma unroll
      for (int i = 0; i < kPacket; ++i) value[i] += weight * x[i];
    }
#pragma unroll
    for (int i = 0; i < kPacket; ++i) value[i] *= inverse;
    store_values<kPacket>(output + row.index * shape.head_dim + c, value);
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    delta_kernel(AttentionShape shape, std::int64_t rows, const T* grad_output, const T* output,
                 float* delta) {
  const Row row(shape);
  if (row.index >= rows) return;
  const int lane = threadIdx.x % 32;
  const T* left = grad_output + row.index * shape.head_dim;
  const T* right = output + row.index * shape.head_dim;
  float sum = 0;
  for (int c = lane; c < shape.head_dim; c += 32)
    sum += static_cast<float>(left[c]) * static_cast<float>(right[c]);
  for (int distance = 16; distance > 0; distance /= 2)
    sum += __shfl_xor_sync(0xffffffffu, sum, distance);
  if (lane == 0) delta[row.statistic] = sum;
}

struct Scaled {
  float scale;
  __device__ __forceinline__ float operator()(float x) const { return x * scale; }
};

unsigned row_blocks(std::int64_t rows) {
  return static_cast<unsigned>((rows + kRowsPerBlock - 1) / kRowsPerBlock);
}

}  // namespace

void attention_combine(Context& context, const AttentionForward& operands, int splits,
                       const float* part_output, const float* part_log_sum_exp) {
  const std::int64_t rows = row_count(operands.shape);
  SEQ1F1B_LAUNCH(combine_kernel, row_blocks(rows), kThreads, 0, context.stream, operands.shape,
                 rows, splits, part_output, part_log_sum_exp, static_cast<Bf16*>(operands.output),
                 operands.log_sum_exp);
}

void attention_delta(Context& context, const AttentionBackward& operands, Dtype compute,
                     float* delta) {
  const std::int64_t rows = row_count(operands.shape);
  if (compute == Dtype::kBf16)
    SEQ1F1B_LAUNCH((delta_kernel<Bf16>), row_blocks(rows), kThreads, 0, context.stream,
                   operands.shape, rows, static_cast<const Bf16*>(operands.grad_output),
                   static_cast<const Bf16*>(operands.output), delta);
  else
    SEQ1F1B_LAUNCH((delta_kernel<float>), row_blocks(rows), kThreads, 0, context.stream,
                   operands.shape, rows, static_cast<const float*>(operands.grad_output),
                   static_cast<const float*>(operands.output), delta);
}

void attention_round(Context& context, const float* input, std::int64_t count, float scale,
                     void* output) {
  map<float, Bf16>(context, Scaled{scale}, Tensor(const_cast<float*>(input), Dtype::kF32, {count}),
                   {}, Tensor(output, Dtype::kBf16, {count}));
}

}  // namespace seq1f1b::kernels::cuda
