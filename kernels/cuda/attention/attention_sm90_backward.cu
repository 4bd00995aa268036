// Attention backward for Hopper: what comes before and after the products.
//
// Formula, with p_ij = exp(scale q_i . k_j - log_sum_exp_i) and delta_i = grad_output_i . output_i:
//   grad_value_j += sum_i p_ij grad_output_i
//   g_ij = p_ij (grad_output_i . v_j - delta_i)
//   grad_key_j += scale sum_i g_ij q_i; grad_query_i = scale sum_j g_ij k_j
//
// prepare: bytes moved: grad_output, output, log_sum_exp once, two statistics and the cleared sums
// written; sixteen lanes a query and head. finish: the sums read, grad_query written once; a warp
// group a block of 64 queries. Both deterministic.
// Limits: those of attention_sm90.h. Run on the emulator of kernels/simt, never on a GPU.
#include <cmath>

#include "kernels/common/bf16.h"
#include "kernels/cuda/attention/attention_sm90_backward.h"
#include "kernels/cuda/attention/attention_sm90_tiles.h"

namespace seq1f1b::kernels::cuda {
namespace {

using namespace sm90;

constexpr int kPrepareThreads = 256, kLanes = 16, kLaneWidth = 8;  // 16 lanes of 8: head_dim 128

__device__ __forceinline__ float dot_bf16_pair(std::uint32_t a, std::uint32_t b) {
  const auto low = [](std::uint32_t x) { return std::bit_cast<float>(x << 16); };
  const auto high = [](std::uint32_t x) { return std::bit_cast<float>(x & 0xffff0000u); };
  return low(a) * low(b) + high(a) * high(b);
}

__global__ void __launch_bounds__(kPrepareThreads)
    prepare(AttentionShape s, int padded_tokens, const Bf16* grad_output, const Bf16* output,
            const float* log_sum_exp, float* log2_sum, float* delta, float* sums,
            int sums_per_query) {
  const std::int64_t item =
      std::int64_t{blockIdx.x} * (kPrepareThreads / kLanes) + threadIdx.x / kLanes;
  const int lane = threadIdx.x % kLanes;
  // Heads run fastest, as they lie in memory.
  const int head = static_cast<int>(item % s.heads);
  const std::int64_t rest = item / s.heads;
  const int i = static_cast<int>(rest % padded_tokens),
            batch = static_cast<int>(rest / padded_tokens);
  const std::int64_t row = std::int64_t{batch} * s.heads + head;
  float sum = 0;
  if (i < s.tokens && lane * kLaneWidth < s.head_dim) {
    const std::int64_t at =
        ((std::int64_t{batch} * s.tokens + i) * s.heads + head) * s.head_dim + lane * kLaneWidth;
    const uint4 a = *reinterpret_cast<const uint4*>(grad_output + at);
    const uint4 b = *reinterpret_cast<const uint4*>(output + at);
    sum = dot_bf16_pair(a.x, b.x) + dot_bf16_pair(a.y, b.y) + dot_bf16_pair(a.z, b.z) +
          dot_bf16_pair(a.w, b.w);
  }
#pragma unroll
  for (int step = kLanes / 2; step > 0; step /= 2) sum += __shfl_xor_sync(~0u, sum, step);
  const std::int64_t place = row * padded_tokens + i;
  if (lane == 0) {
    delta[place] = sum;
    log2_sum[place] = i < s.tokens ? log_sum_exp[row * s.tokens + i] * kLog2E : INFINITY;
  }
  if (sums)
    for (int c = lane * 4; c < sums_per_query; c += kLanes * 4)
      *reinterpret_cast<float4*>(sums + place * sums_per_query + c) = make_float4(0, 0, 0, 0);
}

// One block of 64 x width sums (BackwardCall) to grad_query; `parts` of them side by side.
__global__ void __launch_bounds__(kGroup) finish(AttentionShape s, int padded_tokens, int parts,
                                                 int width, const float* sums, Bf16* grad_query) {
  const int part = blockIdx.x % parts;
  const std::int64_t tile = blockIdx.x / parts;
  const int tiles = padded_tokens / kGroupRows;
  const int first = static_cast<int>(tile % tiles) * kGroupRows;
  const std::int64_t row = tile / tiles, batch = row / s.heads, head = row % s.heads;
  const int thread = threadIdx.x, warp = thread / 32, g = thread % 32 / 4, t = thread % 4;
  const auto* block =
      reinterpret_cast<const float4*>(sums) + std::int64_t{blockIdx.x} * (kGroupRows / 4 * width);
#pragma unroll 2
  for (int j = 0; j < width / 8; ++j) {
    const float4 four = block[j * kGroup + thread];
    const int column = part * width + j * 8 + t * 2;
    if (column >= s.head_dim) break;
    const auto store = [&](int i, float x, float y) {
      if (i < s.tokens)
        *reinterpret_cast<std::uint32_t*>(
            grad_query + ((batch * s.tokens + i) * s.heads + head) * s.head_dim + column) =
            pack_bf16(x * s.scale, y * s.scale);
    };
    store(first + warp * 16 + g, four.x, four.y);
    store(first + warp * 16 + g + 8, four.z, four.w);
  }
}

}  // namespace

bool attention_sm90_backward(Context& context, const AttentionBackward& operands) {
  // Gradients of keys and values are written in pairs.
  for (const float* gradient : {operands.grad_key, operands.grad_value})
    if (reinterpret_cast<std::uintptr_t>(gradient) % sizeof(float2) != 0) return false;
  const AttentionShape& s = operands.shape;
  const TensorMapShape rows = query_map_shape(s), keys = key_map_shape(s, kBackwardKeys);
  if (!serves(context, s, kSm90MaxBackwardHeadDim) ||
      !maps_serve(keys, {operands.key, operands.value}) ||
      !maps_serve(rows,
                  {operands.query, operands.grad_output, operands.output, operands.grad_query}))
    return false;
  const int padded_tokens = static_cast<int>(attention_sm90_padded_tokens(s.tokens));
  const int padded_dim = static_cast<int>(attention_sm90_padded_dim(s.head_dim));
  const std::int64_t items = std::int64_t{s.micro_batch} * s.heads * padded_tokens;
  float* const log2_sum = context.scratch.take<float>(items);
  float* const delta = context.scratch.take<float>(items);
  float* const sums =
      context.deterministic ? nullptr : context.scratch.take<float>(items * padded_dim);
  const BackwardCall call{operands,
                          make_tensor_map(operands.query, rows),
                          make_tensor_map(operands.grad_output, rows),
                          make_tensor_map(operands.grad_query, rows),
                          make_tensor_map(operands.key, keys),
                          make_tensor_map(operands.value, keys),
                          log2_sum,
                          delta,
                          padded_tokens,
                          sums};

  constexpr int kItems = kPrepareThreads / kLanes;
  static_assert(kSm90ScratchTile % kItems == 0);  // blocks are whole: prepare has no guard
  SEQ1F1B_LAUNCH(prepare, dim3(static_cast<unsigned>(items / kItems)), dim3(kPrepareThreads), 0,
                 context.stream, s, padded_tokens, static_cast<const Bf16*>(operands.grad_output),
                 static_cast<const Bf16*>(operands.output), operands.log_sum_exp, log2_sum, delta,
                 sums, padded_dim);
  backward_keys(context, call);
  if (sums) {
    const int width = sum_width(s.head_dim), parts = padded_dim / width;
    SEQ1F1B_LAUNCH(finish, dim3(static_cast<unsigned>(items / kGroupRows * parts)), dim3(kGroup), 0,
                   context.stream, s, padded_tokens, parts, width, sums,
                   static_cast<Bf16*>(operands.grad_query));
  } else {
    backward_queries(context, call);
  }
  return true;
}

}  // namespace seq1f1b::kernels::cuda
