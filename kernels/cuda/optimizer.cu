// The optimizer's step: sums of squares, clipping, AdamW.
//
// Bytes per element: sum_of_squares 4 read; adamw in bf16 16 read (gradient, two moments, master)
// and 14 written, in fp32 16 and 12. Bound by memory; clip by latency. Mapping: sum_of_squares
// gives a block one share of the elements and adds the shares' sums in a second launch, where there
// is more than one. adamw takes tiles of all tensors of a call in one launch per kTableSize
// tensors, in a loop with the grid's stride; a block finds its tile's tensor by bisection of the
// table that travels with the launch, so a recorded launch needs no other memory. Deterministic:
// squares are added in fp64 in an order that depends on the element count alone, clip adds in
// order, adamw's elements are independent. Limits: none.
#include <limits>
#include <type_traits>

#include "kernels/cuda/device_code/reduce.h"
#include "kernels/cuda/device_code/vector.h"
#include "kernels/cuda/kernels.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/scratch_pointwise.h"

namespace seq1f1b::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWidth = 4;  // 16 bytes of fp32, 8 of bf16

// ---- sum of squares -----------------------------------------------------------------------------

constexpr int kSquaresInFlight = 4;

// A block's share to results[block]. The same elements go to the same thread whether or not the
// input is aligned.
__global__ void __launch_bounds__(kThreads)
    squares_kernel(const float* input, std::int64_t count, std::int64_t share, bool aligned,
                   double* results) {
  SEQ1F1B_SHARED(shared, double[kMaxWarps]);
  const std::int64_t begin = blockIdx.x * share, end = min(count, begin + share);
  constexpr std::int64_t kStride = kThreads * kWidth;
  double sum = 0;
  for (std::int64_t at = begin + threadIdx.x * kWidth; at < end; at += kSquaresInFlight * kStride) {
    float x[kSquaresInFlight][kWidth] = {};
#pragma unroll
    for (int k = 0; k < kSquaresInFlight; ++k) {
      const std::int64_t first = at + k * kStride;
      if (aligned && first + kWidth <= end) {
        load_values<kWidth>(input + first, x[k]);
      } else {
#pragma unroll
        for (int i = 0; i < kWidth; ++i)
          if (first + i < end) x[k][i] = input[first + i];
      }
    }
#pragma unroll
    for (int k = 0; k < kSquaresInFlight; ++k)
#pragma unroll
      for (int i = 0; i < kWidth; ++i) {
        const double value = x[k][i];
        sum += value * value;
      }
  }
  sum = block_sum(sum, shared);
  if (threadIdx.x == 0) results[blockIdx.x] = sum;
}

// *result = sum of values, by one block.
__global__ void __launch_bounds__(kThreads)
    add_squares_kernel(const double* values, std::int64_t count, double* result) {
  SEQ1F1B_SHARED(shared, double[kMaxWarps]);
  double sum = 0;
  for (std::int64_t n = threadIdx.x; n < count; n += kThreads) sum += values[n];
  sum = block_sum(sum, shared);
  if (threadIdx.x == 0) *result = sum;
}

// ---- clipping -----------------------------------------------------------------------------------

// As kernels/common/host_grad_norm.cpp, to the bit.
__global__ void __launch_bounds__(kThreads)
    clip_kernel(const double* squares, std::int64_t count, const double* loss_sum, double clip_norm,
                AdamWParams* step) {
  SEQ1F1B_SHARED(staged, double[kThreads]);
  double sum = 0;
  for (std::int64_t begin = 0; begin < count; begin += kThreads) {
    const int here = static_cast<int>(min(static_cast<std::int64_t>(kThreads), count - begin));
    const int thread = threadIdx.x;
    if (thread < here) staged[thread] = squares[begin + thread];
    __syncthreads();
    if (thread == 0)
      for (int n = 0; n < here; ++n) sum += staged[n];
    __syncthreads();
  }
  if (threadIdx.x != 0) return;
  const double norm = sqrt(sum), loss = *loss_sum;
  const double infinity = std::numeric_limits<double>::infinity();
  step->gradient_norm = norm;
  step->gradient_scale = clip_norm > 0 && norm > clip_norm ? clip_norm / norm : 1.0;
  step->loss_sum = loss;
  step->apply =
      norm < infinity && loss < infinity && loss > -infinity ? 1.0 : 0.0;  // false for NaN
}

// ---- AdamW --------------------------------------------------------------------------------------

constexpr int kTableSize = 64;  // so that a launch's arguments stay below 4 KiB
constexpr int kPacketsInFlight = 2;
constexpr int kTile = kThreads * kWidth * kPacketsInFlight;

template <class T>
struct TableEntry {
  T* weight;
  float* master;  // of fp32 the weight itself
  const float* gradient;
  float *first_moment, *second_moment;
  std::int64_t count;
  float weight_decay;
};
template <class T>
struct Table {
  TableEntry<T> entries[kTableSize];
  int first_tile[kTableSize + 1];
  int size;
};

struct Constants {
  float learning_rate, epsilon, beta1, rest1, beta2, rest2, inverse_correction1,
      inverse_correction2, gradient_scale;
};

__device__ __forceinline__ Constants constants_of(const AdamWParams& step) {
  Constants k;
  k.learning_rate = static_cast<float>(step.learning_rate);
  k.epsilon = static_cast<float>(step.epsilon);
  k.beta1 = static_cast<float>(step.beta1);
  k.rest1 = static_cast<float>(1 - step.beta1);
  k.beta2 = static_cast<float>(step.beta2);
  k.rest2 = static_cast<float>(1 - step.beta2);
  k.inverse_correction1 = 1.0f / static_cast<float>(step.bias_correction1);
  k.inverse_correction2 = 1.0f / static_cast<float>(step.bias_correction2);
  k.gradient_scale = static_cast<float>(step.gradient_scale);
  return k;
}

__device__ __forceinline__ void update(const Constants& k, float weight_decay, float gradient,
                                       float& weight, float& first, float& second) {
  const float g = gradient * k.gradient_scale;
  first = fmaf(k.beta1, first, k.rest1 * g);
  second = fmaf(k.beta2, second, k.rest2 * g * g);
  const float size = sqrtf(second * k.inverse_correction2) + k.epsilon;
  const float change = fmaf(weight_decay, weight, first * k.inverse_correction1 / size);
  weight = fmaf(-k.learning_rate, change, weight);
}

template <class T>
__device__ __forceinline__ void update_whole_tile(const Constants& k, const TableEntry<T>& entry,
                                                  std::int64_t begin) {
  float w[kPacketsInFlight][kWidth], g[kPacketsInFlight][kWidth], m[kPacketsInFlight][kWidth],
      v[kPacketsInFlight][kWidth];
#pragma unroll
  for (int p = 0; p < kPacketsInFlight; ++p) {
    const std::int64_t at = begin + (p * kThreads + threadIdx.x) * kWidth;
    load_values<kWidth>(entry.gradient + at, g[p]);
    load_values<kWidth>(entry.first_moment + at, m[p]);
    load_values<kWidth>(entry.second_moment + at, v[p]);
    load_values<kWidth>(entry.master + at, w[p]);
  }
#pragma unroll
  for (int p = 0; p < kPacketsInFlight; ++p) {
    const std::int64_t at = begin + (p * kThreads + threadIdx.x) * kWidth;
#pragma unroll
    for (int i = 0; i < kWidth; ++i)
      update(k, entry.weight_decay, g[p][i], w[p][i], m[p][i], v[p][i]);
    store_values<kWidth>(entry.first_moment + at, m[p]);
    store_values<kWidth>(entry.second_moment + at, v[p]);
    store_values<kWidth>(entry.master + at, w[p]);
    if constexpr (!std::is_same_v<T, float>) store_values<kWidth>(entry.weight + at, w[p]);
  }
}

template <class T>
__device__ __forceinline__ bool aligned(const TableEntry<T>& entry) {
  const auto all = reinterpret_cast<std::uintptr_t>(entry.gradient) |
                   reinterpret_cast<std::uintptr_t>(entry.first_moment) |
                   reinterpret_cast<std::uintptr_t>(entry.second_moment) |
                   reinterpret_cast<std::uintptr_t>(entry.master);
  return all % 16 == 0 &&
         reinterpret_cast<std::uintptr_t>(entry.weight) % (kWidth * sizeof(T)) == 0;
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    adamw_kernel(const __grid_constant__ Table<T> table, const AdamWParams* step) {
  if (step->apply == 0) return;
  const Constants k = constants_of(*step);
  const int tiles = table.first_tile[table.size];
  for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    int low = 0, high = table.size;  // the last entry that begins at or before the tile
    while (high - low > 1) {
      const int middle = (low + high) / 2;
      if (table.first_tile[middle] <= tile)
        low = middle;
      else
        high = middle;
    }
    const TableEntry<T>& entry = table.entries[low];
    const std::int64_t begin = static_cast<std::int64_t>(tile - table.first_tile[low]) * kTile;
    if (begin + kTile <= entry.count && aligned(entry)) {
      update_whole_tile(k, entry, begin);
      continue;
    }
    const std::int64_t end = min(entry.count, begin + kTile);
    for (std::int64_t i = begin + threadIdx.x; i < end; i += kThreads) {
      float w = entry.master[i], m = entry.first_moment[i], v = entry.second_moment[i];
      update(k, entry.weight_decay, entry.gradient[i], w, m, v);
      entry.first_moment[i] = m;
      entry.second_moment[i] = v;
      entry.master[i] = w;
      if constexpr (!std::is_same_v<T, float>) entry.weight[i] = T(w);
    }
  }
}

template <class T>
void launch_adamw(Context& context, std::span<const AdamwTensor> tensors, const AdamWParams* step) {
  Table<T> table{};
  const auto launch = [&] {
    const int tiles = table.first_tile[table.size];
    if (tiles > 0)
      SEQ1F1B_LAUNCH((adamw_kernel<T>), loop_grid(context, tiles), kThreads, 0, context.stream,
                     table, step);
    table.size = 0;
  };
  for (const AdamwTensor& tensor : tensors) {
    const std::int64_t count = tensor.weight.elements();
    const std::int64_t tiles = ceil_div(count, kTile);
    SEQ1F1B_ASSERT(tiles <= std::numeric_limits<int>::max() / kTableSize, "a tensor of ", count,
                   " elements");
    TableEntry<T>& entry = table.entries[table.size];
    entry.weight = tensor.weight.as<T>();
    entry.master = (std::is_same_v<T, float> ? tensor.weight : tensor.master).template as<float>();
    entry.gradient = tensor.gradient.as<const float>();
    entry.first_moment = tensor.first_moment.as<float>();
    entry.second_moment = tensor.second_moment.as<float>();
    entry.count = count;
    entry.weight_decay = static_cast<float>(tensor.weight_decay);
    table.first_tile[table.size + 1] = table.first_tile[table.size] + static_cast<int>(tiles);
    if (++table.size == kTableSize) launch();
  }
  launch();
}

}  // namespace

void sum_of_squares(Context& context, const Tensor& input, double* result) {
  const std::int64_t count = input.elements();
  const Shares shares = square_shares(count);
  const bool many = shares.count > 1;
  double* partials =
      many ? context.scratch.take<double>(static_cast<std::size_t>(shares.count)) : result;
  // An empty input still has a sum.
  SEQ1F1B_LAUNCH(squares_kernel, static_cast<unsigned>(std::max<std::int64_t>(shares.count, 1)),
                 kThreads, 0, context.stream, input.as<const float>(), count, shares.size,
                 aligned_to(16, input), partials);
  if (many)
    SEQ1F1B_LAUNCH(add_squares_kernel, 1, kThreads, 0, context.stream, partials, shares.count,
                   result);
}

void finalize_grad_norm(Context& context, const Tensor& squares, const double* loss_sum,
                        double clip_norm, AdamWParams* step) {
  SEQ1F1B_LAUNCH(clip_kernel, 1, kThreads, 0, context.stream, squares.as<const double>(),
                 squares.elements(), loss_sum, clip_norm, step);
}

void adamw(Context& context, std::span<const AdamwTensor> tensors, const AdamWParams* step) {
  if (tensors.empty()) return;
  with_compute_type(tensors.front().weight.dtype, [&](auto element) {
    launch_adamw<typename decltype(element)::Type>(context, tensors, step);
  });
}

}  // namespace seq1f1b::kernels::cuda
