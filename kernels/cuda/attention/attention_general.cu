// Attention of any head dimension up to 256, bf16 or fp32 in memory, arithmetic in fp32: for fp32
// training, and for the head dimensions that tensor cores do not take. Clear before fast. Formulas:
//   forward    s = scale query key^T, masked; output = softmax(s) value, one tile of keys at a time
//              with running statistics; log_sum_exp = log sum exp s
//   backward   p = exp(s - log_sum_exp); delta = rowsum(grad_output * output);
//              grad_value = p^T grad_output; g = scale p * (grad_output value^T - delta);
//              grad_key = g^T query; grad_query = g key
//   bytes      forward and grad_query: the rows of a tile once, key and value once per tile of 32
//              queries; grad_key and grad_value: the reverse
//   mapping    a block of 16 x 16 threads per tile of 32 rows of a head: thread (y, x) computes
//              scores of rows y, y + 16 and columns x, x + 16, and results of rows y, y + 16 and
//              columns x, x + 16, x + 32, ... Tiles lie in shared memory in fp32 with an odd pitch,
//              so that sixteen rows of a column are in sixteen banks. A block of the kernel over
//              keys is the only writer of its gradients; it runs over the query heads of its group.
//   masks      evaluated everywhere; tiles that no query sees are not loaded
//   sums       in an order that depends on shapes alone: the same bits always
//   limits     head_dim <= 256; shared memory up to 136 KiB
#include <limits>

#include "kernels/common/bf16.h"
#include "kernels/common/limits.h"
#include "kernels/cuda/attention/attention_mask.h"
#include "kernels/cuda/attention/attention_rows.h"
#include "kernels/cuda/attention/attention_sm80.h"
#include "kernels/cuda/device_code/language.h"

namespace seq1f1b::kernels::cuda {
namespace {

constexpr int kSide = 16, kThreads = kSide * kSide;  // of a block
constexpr int kTile = 2 * kSide;                     // rows of a tile
constexpr int kScorePitch = kTile + 1;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Tiles [kTile x head_dim] of `count` operands, and `scores` tiles [kTile x kTile].
constexpr int pitch_of(int head_dim) { return head_dim | 1; }
std::size_t shared_bytes(int head_dim, int count, int scores) {
  return static_cast<std::size_t>(kTile) *
         static_cast<std::size_t>(count * pitch_of(head_dim) + scores * kScorePitch) *
         sizeof(float);
}
static_assert(kTile * (4 * pitch_of(kMaxHeadDim) + 2 * kScorePitch) * sizeof(float) <= 163 << 10);

__device__ __forceinline__ int thread_x() { return static_cast<int>(threadIdx.x) % kSide; }
__device__ __forceinline__ int thread_y() { return static_cast<int>(threadIdx.x) / kSide; }

// Rows [0, rows) of a tile, a warp each; the others are zeros.
template <class T>
__device__ void load(float* tile, const T* global, std::int64_t stride, int rows, int head_dim) {
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  for (int row = warp; row < kTile; row += kThreads / 32)
    for (int column = lane; column < head_dim; column += 32)
      tile[row * pitch_of(head_dim) + column] =
          row < rows ? static_cast<float>(global[row * stride + column]) : 0.0f;
}

// A thread's 2x2 elements of left right^T, both tiles [kTile x head_dim].
__device__ __forceinline__ void multiply_rows(float (&result)[2][2], const float* left,
                                              const float* right, int head_dim) {
  const int pitch = pitch_of(head_dim);
  left += thread_y() * pitch;
  right += thread_x() * pitch;
#pragma unroll
  for (int i = 0; i < 2; ++i)
#pragma unroll
    for (int j = 0; j < 2; ++j) result[i][j] = 0;
  for (int c = 0; c < head_dim; ++c) {
    const float a[2] = {left[c], left[kSide * pitch + c]};
    const float b[2] = {right[c], right[kSide * pitch + c]};
#pragma unroll
    for (int i = 0; i < 2; ++i)
#pragma unroll
      for (int j = 0; j < 2; ++j) result[i][j] += a[i] * b[j];
  }
}

// A thread's part of weights rows: result[i][c] += sum_j weights[y + 16 i][j] rows[j][x + 16 c].
// kColumns: sixteens that hold head_dim.
template <int kColumns>
__device__ __forceinline__ void accumulate_rows(float (&result)[2][kColumns], const float* weights,
                                                const float* rows, int head_dim) {
  for (int j = 0; j < kTile; ++j) {
    const float w[2] = {weights[thread_y() * kScorePitch + j],
                        weights[(thread_y() + kSide) * kScorePitch + j]};
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
      const int column = thread_x() + c * kSide;
      if (column >= head_dim) break;
      const float value = rows[j * pitch_of(head_dim) + column];
      result[0][c] += w[0] * value;
      result[1][c] += w[1] * value;
    }
  }
}

template <int kColumns>
__device__ __forceinline__ void clear(float (&values)[2][kColumns]) {
#pragma unroll
  for (int i = 0; i < 2; ++i)
#pragma unroll
    for (int c = 0; c < kColumns; ++c) values[i][c] = 0;
}

// A thread's 2x2 scores into a tile, or into its transpose.
__device__ __forceinline__ void keep(float* tile, const float (&values)[2][2], bool transposed) {
#pragma unroll
  for (int i = 0; i < 2; ++i)
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const int row = thread_y() + i * kSide, column = thread_x() + j * kSide;
      tile[transposed ? column * kScorePitch + row : row * kScorePitch + column] = values[i][j];
    }
}

__device__ __forceinline__ bool visible(const AttentionMask& mask, int query, int key) {
  return query < mask.tokens && key >= mask.first_key(query) && key < mask.last_key(query);
}

// Over the sixteen threads of a row of the block.
__device__ __forceinline__ float row_max(float value) {
  for (int distance = kSide / 2; distance > 0; distance /= 2)
    value = fmaxf(value, __shfl_xor_sync(0xffffffffu, value, distance));
  return value;
}
__device__ __forceinline__ float row_sum(float value) {
  for (int distance = kSide / 2; distance > 0; distance /= 2)
    value += __shfl_xor_sync(0xffffffffu, value, distance);
  return value;
}

// Per multiprocessor: left to itself, ptxas aims at four of the wider instances, too, and spills.
constexpr int forward_blocks(int columns) { return columns == 4 ? 4 : columns == 8 ? 3 : 2; }

template <class T, int kColumns>
__global__ void __launch_bounds__(kThreads, forward_blocks(kColumns))
    forward_kernel(const AttentionForward operands, const BlockOrder order) {
  SEQ1F1B_DYNAMIC_SHARED(memory);
  const AttentionShape& shape = operands.shape;
  const int head_dim = shape.head_dim, size = kTile * pitch_of(head_dim);
  float* query_tile = reinterpret_cast<float*>(memory);
  float *key_tile = query_tile + size, *value_tile = key_tile + size, *weights = value_tile + size;
  const BlockOrder::Place place = order.place(blockIdx.x);
  const int sequence = place.head / shape.heads, head = place.head % shape.heads;
  const int query = (order.units - 1 - place.unit) * kTile;  // the longest first
  const int kv_head = head / (shape.heads / shape.kv_heads);
  const AttentionMask mask(shape, sequence);
  const TileRange tiles = mask.key_tiles(query, kTile, kTile);
  const std::int64_t stride = static_cast<std::int64_t>(shape.heads) * head_dim;
  const std::int64_t query_at = query_offset(shape, sequence, head, query);

  load(query_tile, static_cast<const T*>(operands.query) + query_at, stride, shape.tokens - query,
       head_dim);
  float result[2][kColumns], highest[2] = {-kInfinity, -kInfinity}, sum[2] = {0, 0};
  clear(result);
  for (int j = tiles.begin; j < tiles.end; ++j) {
    const int key = j * kTile, rows = shape.key_length - key;
    const std::int64_t at = key_offset(shape, sequence, kv_head, key);
    __syncthreads();  // all are done with the tiles before
    load(key_tile, static_cast<const T*>(operands.key) + at, head_dim, rows, head_dim);
    load(value_tile, static_cast<const T*>(operands.value) + at, head_dim, rows, head_dim);
    __syncthreads();
    float score[2][2];
    multiply_rows(score, query_tile, key_tile, head_dim);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
#pragma unroll
      for (int c = 0; c < 2; ++c)
        score[i][c] = visible(mask, query + thread_y() + i * kSide, key + thread_x() + c * kSide)
                          ? score[i][c] * shape.scale
                          : -kInfinity;
      const float peak = row_max(fmaxf(highest[i], fmaxf(score[i][0], score[i][1])));
      const float reference = peak == -kInfinity ? 0 : peak;  // no key seen yet: all stays zero
      const float shrink = expf(highest[i] - reference);
#pragma unroll
      for (int c = 0; c < 2; ++c) score[i][c] = expf(score[i][c] - reference);
      sum[i] = sum[i] * shrink + (score[i][0] + score[i][1]);
      highest[i] = peak;
#pragma unroll
      for (int c = 0; c < kColumns; ++c) result[i][c] *= shrink;
    }
    keep(weights, score, false);
    __syncthreads();
    accumulate_rows(result, weights, value_tile, head_dim);
  }
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int row = thread_y() + i * kSide;
    const float total = row_sum(sum[i]);
    if (query + row >= shape.tokens) continue;
    if (thread_x() == 0)
      operands.log_sum_exp[statistic_offset(shape, sequence, head, query + row)] =
          highest[i] + logf(total);
    T* output = static_cast<T*>(operands.output) + query_at + row * stride;
#pragma unroll
    for (int c = 0; c < kColumns; ++c)
      if (thread_x() + c * kSide < head_dim)
        output[thread_x() + c * kSide] = static_cast<T>(result[i][c] / total);
  }
}

// Probabilities and score gradients (times scale) of a tile: of query rows y, y + 16 and key
// columns x, x + 16. Zeros where a query must not see a key, and beyond the ends.
__device__ __forceinline__ void gradients(float (&weight)[2][2], float (&grad_score)[2][2],
                                          const AttentionBackward& operands, const float* delta,
                                          const AttentionMask& mask, std::int64_t statistics_at,
                                          int query, int key) {
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int row = query + thread_y() + i * kSide;
    const bool exists = row < mask.tokens;
    const float log_sum_exp =
        exists ? operands.log_sum_exp[statistics_at + thread_y() + i * kSide] : 0;
    const float lost = exists ? delta[statistics_at + thread_y() + i * kSide] : 0;
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const bool seen = visible(mask, row, key + thread_x() + j * kSide);
      weight[i][j] = seen ? expf(weight[i][j] * operands.shape.scale - log_sum_exp) : 0;
      grad_score[i][j] = seen ? weight[i][j] * (grad_score[i][j] - lost) * operands.shape.scale : 0;
    }
  }
}

// Three blocks of the narrow instance: left to itself, ptxas aims at four and spills.
template <class T, int kColumns>
__global__ void __launch_bounds__(kThreads, kColumns == 4 ? 3 : 1)
    backward_key_kernel(const AttentionBackward operands, const BlockOrder order,
                        const float* delta) {
  SEQ1F1B_DYNAMIC_SHARED(memory);
  const AttentionShape& shape = operands.shape;
  const int head_dim = shape.head_dim, size = kTile * pitch_of(head_dim);
  float* key_tile = reinterpret_cast<float*>(memory);
  float *value_tile = key_tile + size, *query_tile = value_tile + size,
        *output_tile = query_tile + size, *weights = output_tile + size,
        *grad_scores = weights + kTile * kScorePitch;
  const BlockOrder::Place place = order.place(blockIdx.x);
  const int sequence = place.head / shape.kv_heads, kv_head = place.head % shape.kv_heads;
  const int key = place.unit * kTile, group = shape.heads / shape.kv_heads;
  const AttentionMask mask(shape, sequence);
  const TileRange queries = mask.queries_of(key, kTile);
  const std::int64_t stride = static_cast<std::int64_t>(shape.heads) * head_dim;
  const std::int64_t key_at = key_offset(shape, sequence, kv_head, key);
  const int rows = shape.key_length - key;
  load(key_tile, static_cast<const T*>(operands.key) + key_at, head_dim, rows, head_dim);
  load(value_tile, static_cast<const T*>(operands.value) + key_at, head_dim, rows, head_dim);

  float grad_key[2][kColumns], grad_value[2][kColumns];
  clear(grad_key);
  clear(grad_value);
  for (int head = kv_head * group; head < (kv_head + 1) * group; ++head)
    for (int query = queries.begin / kTile * kTile; query < queries.end; query += kTile) {
      const std::int64_t at = query_offset(shape, sequence, head, query);
      __syncthreads();  // all are done with the tiles before
      load(query_tile, static_cast<const T*>(operands.query) + at, stride, shape.tokens - query,
           head_dim);
      load(output_tile, static_cast<const T*>(operands.grad_output) + at, stride,
           shape.tokens - query, head_dim);
      __syncthreads();
      float weight[2][2], grad_score[2][2];
      multiply_rows(weight, query_tile, key_tile, head_dim);
      multiply_rows(grad_score, output_tile, value_tile, head_dim);
      gradients(weight, grad_score, operands, delta, mask,
                statistic_offset(shape, sequence, head, query), query, key);
      keep(weights, weight, true);
      keep(grad_scores, grad_score, true);
      __syncthreads();
      accumulate_rows(grad_value, weights, output_tile, head_dim);
      accumulate_rows(grad_key, grad_scores, query_tile, head_dim);
    }
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int row = thread_y() + i * kSide;
    if (row >= rows) continue;
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
      const int column = thread_x() + c * kSide;
      if (column >= head_dim) break;
      const std::int64_t at = key_at + static_cast<std::int64_t>(row) * head_dim + column;
      operands.grad_key[at] = (operands.add ? operands.grad_key[at] : 0) + grad_key[i][c];
      operands.grad_value[at] = (operands.add ? operands.grad_value[at] : 0) + grad_value[i][c];
    }
  }
}

template <class T, int kColumns>
__global__ void __launch_bounds__(kThreads)
    backward_query_kernel(const AttentionBackward operands, const BlockOrder order,
                          const float* delta) {
  SEQ1F1B_DYNAMIC_SHARED(memory);
  const AttentionShape& shape = operands.shape;
  const int head_dim = shape.head_dim, size = kTile * pitch_of(head_dim);
  float* query_tile = reinterpret_cast<float*>(memory);
  float *output_tile = query_tile + size, *key_tile = output_tile + size,
        *value_tile = key_tile + size, *grad_scores = value_tile + size;
  const BlockOrder::Place place = order.place(blockIdx.x);
  const int sequence = place.head / shape.heads, head = place.head % shape.heads;
  const int query = (order.units - 1 - place.unit) * kTile;  // the longest first
  const int kv_head = head / (shape.heads / shape.kv_heads);
  const AttentionMask mask(shape, sequence);
  const TileRange tiles = mask.key_tiles(query, kTile, kTile);
  const std::int64_t stride = static_cast<std::int64_t>(shape.heads) * head_dim;
  const std::int64_t query_at = query_offset(shape, sequence, head, query);
  load(query_tile, static_cast<const T*>(operands.query) + query_at, stride, shape.tokens - query,
       head_dim);
  load(output_tile, static_cast<const T*>(operands.grad_output) + query_at, stride,
       shape.tokens - query, head_dim);

  float grad_query[2][kColumns];
  clear(grad_query);
  for (int j = tiles.begin; j < tiles.end; ++j) {
    const int key = j * kTile, rows = shape.key_length - key;
    const std::int64_t at = key_offset(shape, sequence, kv_head, key);
    __syncthreads();  // all are done with the tiles before
    load(key_tile, static_cast<const T*>(operands.key) + at, head_dim, rows, head_dim);
    load(value_tile, static_cast<const T*>(operands.value) + at, head_dim, rows, head_dim);
    __syncthreads();
    float weight[2][2], grad_score[2][2];
    multiply_rows(weight, query_tile, key_tile, head_dim);
    multiply_rows(grad_score, output_tile, value_tile, head_dim);
    gradients(weight, grad_score, operands, delta, mask,
              statistic_offset(shape, sequence, head, query), query, key);
    keep(grad_scores, grad_score, false);
    __syncthreads();
    accumulate_rows(grad_query, grad_scores, key_tile, head_dim);
  }
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int row = thread_y() + i * kSide;
    if (query + row >= shape.tokens) continue;
    T* output = static_cast<T*>(operands.grad_query) + query_at + row * stride;
#pragma unroll
    for (int c = 0; c < kColumns; ++c)
      if (thread_x() + c * kSide < head_dim)
        output[thread_x() + c * kSide] = static_cast<T>(grad_query[i][c]);
  }
}

// Asks for a block's dynamic shared memory.
template <class Kernel>
void allow(const Context& context, Kernel* kernel, std::size_t bytes, int head_dim) {
  if (bytes > static_cast<std::size_t>(context.shared_bytes))
    throw ConfigError(concat("attention of head dimension ", head_dim, " takes ", bytes,
                             " bytes of shared memory per block, and this GPU gives ",
                             context.shared_bytes,
                             "; take more heads, or runtime.attention=cudnn"));
  allow_shared_bytes(kernel, bytes);
}

BlockOrder order_of(const AttentionShape& shape, int heads, int rows) {
  return BlockOrder::of(std::int64_t{shape.micro_batch} * heads, (rows + kTile - 1) / kTile, 1);
}

template <class T, int kColumns>
void forward(Context& context, const AttentionForward& operands) {
  const AttentionShape& shape = operands.shape;
  const BlockOrder order = order_of(shape, shape.heads, shape.tokens);
  const std::size_t bytes = shared_bytes(shape.head_dim, 3, 1);
  allow(context, forward_kernel<T, kColumns>, bytes, shape.head_dim);
  SEQ1F1B_LAUNCH((forward_kernel<T, kColumns>), order.blocks(), kThreads, bytes, context.stream,
                 operands, order);
}

template <class T, int kColumns>
void backward(Context& context, const AttentionBackward& operands, const float* delta) {
  const AttentionShape& shape = operands.shape;
  const BlockOrder keys = order_of(shape, shape.kv_heads, shape.key_length);
  const std::size_t key_bytes = shared_bytes(shape.head_dim, 4, 2);
  allow(context, backward_key_kernel<T, kColumns>, key_bytes, shape.head_dim);
  SEQ1F1B_LAUNCH((backward_key_kernel<T, kColumns>), keys.blocks(), kThreads, key_bytes,
                 context.stream, operands, keys, delta);
  const BlockOrder queries = order_of(shape, shape.heads, shape.tokens);
  const std::size_t query_bytes = shared_bytes(shape.head_dim, 4, 1);
  allow(context, backward_query_kernel<T, kColumns>, query_bytes, shape.head_dim);
  SEQ1F1B_LAUNCH((backward_query_kernel<T, kColumns>), queries.blocks(), kThreads, query_bytes,
                 context.stream, operands, queries, delta);
}

// Calls run(T{}, sixteens of columns) for the compute type and the smallest instance of head_dim.
template <class Run>
void for_general_instance(Dtype compute, int head_dim, Run&& run) {
  const auto with_columns = [&](auto columns) {
    if (compute == Dtype::kBf16)
      run(Bf16{}, columns);
    else
      run(float{}, columns);
  };
  if (head_dim <= 64) return with_columns(std::integral_constant<int, 4>{});
  if (head_dim <= 128) return with_columns(std::integral_constant<int, 8>{});
  with_columns(std::integral_constant<int, 16>{});
}

}  // namespace

void attention_general_forward(Context& context, const AttentionForward& operands, Dtype compute) {
  for_general_instance(compute, operands.shape.head_dim, [&](auto type, auto columns) {
    forward<decltype(type), decltype(columns)::value>(context, operands);
  });
}

void attention_general_backward(Context& context, const AttentionBackward& operands,
                                Dtype compute) {
  const AttentionShape& shape = operands.shape;
  float* delta = context.scratch.take<float>(static_cast<std::size_t>(shape.micro_batch) *
                                             static_cast<std::size_t>(shape.heads) *
                                             static_cast<std::size_t>(shape.tokens));
  attention_delta(context, operands, compute, delta);
  for_general_instance(compute, shape.head_dim, [&](auto type, auto columns) {
    backward<decltype(type), decltype(columns)::value>(context, operands, delta);
  });
}

}  // namespace seq1f1b::kernels::cuda
