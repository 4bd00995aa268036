// The fused projection to query and carry with the rotary turn, and back.
//
//   x_c -> x_c cos(angle) + x_partner (-+) sin(angle), angle = position * base^(-2 i / dimensions),
//   i the number of c's pair; columns from `dimensions` on and values are copied.
//
// Bytes per element of the projection: to the carry 2 + 2 (bf16); from it 2 for the query part, 4
// for keys and values, and 2 written. A pair that lies half a head apart is read twice, the second
// time from L1. Bound by memory. Mapping: a block takes kRows rows (tokens); it first makes their
// cosines and sines in shared memory, then goes over the rows' packets. Angles are counted in whole
// turns, in fp64, and lose their whole turns exactly, so positions of 10^9 keep fp32 precision; an
// fp32 angle would have lost three digits at 10^5. Deterministic: elements are independent. Limits:
// rotary dimensions <= kMaxHeadDim.
#include <cmath>
#include <numbers>

#include "kernels/common/limits.h"
#include "kernels/cuda/device_code/vector.h"
#include "kernels/cuda/kernels.h"
#include "kernels/cuda/launch.h"

namespace seq1f1b::kernels::cuda {
namespace {

constexpr int kThreads = 256, kRows = 4, kRowThreads = kThreads / kRows;

struct Turns {
  int dimensions = 0;
  bool interleaved = false;
  double direction = 1;                       // -1: back
  double per_position[kMaxHeadDim / 2] = {};  // whole turns of each pair
};

Turns turns_of(const Rotary& rotary, double direction) {
  SEQ1F1B_ASSERT(rotary.dimensions <= kMaxHeadDim, rotary.dimensions, " rotary dimensions");
  Turns turns;
  turns.dimensions = rotary.dimensions;
  turns.interleaved = rotary.interleaved;
  turns.direction = direction;
  for (int i = 0; i < rotary.dimensions / 2; ++i)
    turns.per_position[i] =
        std::pow(rotary.base, -2.0 * i / rotary.dimensions) / (2 * std::numbers::pi);
  return turns;
}

// How rows of the projection lie.
struct Layout {
  std::int64_t rows, tokens, start, capacity;
  int heads, kv_heads, head_dim;
  __device__ __forceinline__ int width() const { return (heads + 2 * kv_heads) * head_dim; }
};

// Cosine and sine of `turns` whole turns: the nearest quarter is taken away exactly, the rest, at
// most an eighth, goes through Taylor series whose next terms are below half an fp32 unit.
__device__ __forceinline__ void turn(double turns, float& cosine, float& sine) {
  const double quarters = 4 * turns, nearest = rint(quarters);
  const auto x = static_cast<float>((quarters - nearest) * (std::numbers::pi / 2));
  const float y = x * x;
  float s = fmaf(y, 1.0f / 362880, -1.0f / 5040);
  s = fmaf(y, s, 1.0f / 120);
  s = fmaf(y, s, -1.0f / 6);
  s = fmaf(x * y, s, x);
  float c = fmaf(y, -1.0f / 3628800, 1.0f / 40320);
  c = fmaf(y, c, -1.0f / 720);
  c = fmaf(y, c, 1.0f / 24);
  c = fmaf(y, c, -0.5f);
  c = fmaf(y, c, 1.0f);
  const int quarter = static_cast<int>(static_cast<long long>(nearest) & 3);
  cosine = quarter == 0 ? c : quarter == 1 ? -s : quarter == 2 ? -c : s;
  sine = quarter == 0 ? s : quarter == 1 ? c : quarter == 2 ? -s : -c;
}

// Per row of the block: where its heads begin in keys and values, its position, and for each column
// of a head what multiplies the element, and what its partner.
struct RowTable {
  std::int64_t carry_begin[kRows], position[kRows];
  float own[kRows][kMaxHeadDim], partner[kRows][kMaxHeadDim];
};

__device__ __forceinline__ void make_table(const Turns& turns, const Layout& layout,
                                           std::int64_t first_row, RowTable& table) {
  if (threadIdx.x < kRows) {
    const std::int64_t row = first_row + threadIdx.x;
    const std::int64_t b = row / layout.tokens, i = row % layout.tokens;
    table.position[threadIdx.x] = layout.start + i;
    table.carry_begin[threadIdx.x] =
        (b * layout.kv_heads * layout.capacity + layout.start + i) * layout.head_dim;
  }
  __syncthreads();
  const int half = turns.dimensions / 2;
  for (int n = threadIdx.x; n < kRows * half; n += kThreads) {
    const int r = n / half, i = n % half;
    float cosine, sine;
    turn(turns.direction * static_cast<double>(table.position[r]) * turns.per_position[i], cosine,
         sine);
    const int first = turns.interleaved ? 2 * i : i;
    const int second = turns.interleaved ? 2 * i + 1 : i + half;
    table.own[r][first] = table.own[r][second] = cosine;
    table.partner[r][first] = -sine;
    table.partner[r][second] = sine;
  }
  __syncthreads();
}

// The packet at `column` of the head at `source`, turned.
template <int kWidth, class T>
__device__ __forceinline__ void load_turned(const T* source, int column, const Turns& turns,
                                            const RowTable& table, int r, float (&x)[kWidth]) {
  load_values<kWidth>(source + column, x);
  if (column >= turns.dimensions) return;
  float partner[kWidth];
  const int half = turns.dimensions / 2;
  if (!turns.interleaved)
    load_values<kWidth>(source + (column < half ? column + half : column - half), partner);
  else if constexpr (kWidth == 1)
    load_values<kWidth>(source + (column ^ 1), partner);
  else
#pragma unroll
    for (int i = 0; i < kWidth; ++i) partner[i] = x[i ^ 1];
#pragma unroll
  for (int i = 0; i < kWidth; ++i)
    x[i] = fmaf(x[i], table.own[r][column + i], partner[i] * table.partner[r][column + i]);
}

template <class T, int kWidth>
__global__ void __launch_bounds__(kThreads)
    to_carry_kernel(const T* __restrict__ projected, const __grid_constant__ Turns turns,
                    Layout layout, T* __restrict__ query, T* __restrict__ key,
                    T* __restrict__ value) {
  SEQ1F1B_SHARED(table, RowTable);
  const std::int64_t first_row = static_cast<std::int64_t>(blockIdx.x) * kRows;
  make_table(turns, layout, first_row, table);
  const int r = threadIdx.x / kRowThreads, head_packets = layout.head_dim / kWidth;
  const std::int64_t row = first_row + r, head_stride = layout.capacity * layout.head_dim;
  const int packets = row < layout.rows ? layout.width() / kWidth : 0;
  const T* const source = projected + row * layout.width();
#pragma unroll 2
  for (int packet = threadIdx.x % kRowThreads; packet < packets; packet += kRowThreads) {
    const int head = packet / head_packets, column = packet % head_packets * kWidth;
    const T* const from = source + head * layout.head_dim;
    const int h = head - layout.heads;
    float x[kWidth];
    if (h < layout.kv_heads)
      load_turned<kWidth>(from, column, turns, table, r, x);
    else
      load_values<kWidth>(from + column, x);
    T* target;
    if (h < 0)
      target = query + (row * layout.heads + head) * layout.head_dim;
    else if (h < layout.kv_heads)
      target = key + table.carry_begin[r] + h * head_stride;
    else
      target = value + table.carry_begin[r] + (h - layout.kv_heads) * head_stride;
    store_values<kWidth>(target + column, x);
  }
}

template <class T, int kWidth>
__global__ void __launch_bounds__(kThreads)
    from_carry_kernel(const T* __restrict__ grad_query, const float* __restrict__ grad_key,
                      const float* __restrict__ grad_value, const __grid_constant__ Turns turns,
                      Layout layout, T* __restrict__ grad_projected) {
  SEQ1F1B_SHARED(table, RowTable);
  const std::int64_t first_row = static_cast<std::int64_t>(blockIdx.x) * kRows;
  make_table(turns, layout, first_row, table);
  const int r = threadIdx.x / kRowThreads, head_packets = layout.head_dim / kWidth;
  const std::int64_t row = first_row + r, head_stride = layout.capacity * layout.head_dim;
  const int packets = row < layout.rows ? layout.width() / kWidth : 0;
  T* const target = grad_projected + row * layout.width();
#pragma unroll 2
  for (int packet = threadIdx.x % kRowThreads; packet < packets; packet += kRowThreads) {
    const int head = packet / head_packets, column = packet % head_packets * kWidth;
    const int h = head - layout.heads;
    float x[kWidth];
    if (h < 0)
      load_turned<kWidth>(grad_query + (row * layout.heads + head) * layout.head_dim, column, turns,
                          table, r, x);
    else if (h < layout.kv_heads)
      load_turned<kWidth>(grad_key + table.carry_begin[r] + h * head_stride, column, turns, table,
                          r, x);
    else
      load_values<kWidth>(
          grad_value + table.carry_begin[r] + (h - layout.kv_heads) * head_stride + column, x);
    store_values<kWidth>(target + head * layout.head_dim + column, x);
  }
}

Layout layout_of(const Tensor& query, const Tensor& key, std::int64_t start) {
  Layout layout;
  layout.tokens = query.dim(1);
  layout.rows = query.dim(0) * layout.tokens;
  layout.start = start;
  layout.capacity = key.dim(2);
  layout.heads = static_cast<int>(query.dim(2));
  layout.kv_heads = static_cast<int>(key.dim(1));
  layout.head_dim = static_cast<int>(query.dim(3));
  return layout;
}

// Whether heads, their halves where pairs lie apart, and what is turned consist of whole packets.
bool whole_packets(const Layout& layout, const Rotary& rotary, int width) {
  const int unit = rotary.interleaved ? rotary.dimensions : rotary.dimensions / 2;
  return layout.head_dim % width == 0 && unit % width == 0;
}

}  // namespace

void split_qkv_rope(Context& context, const Tensor& projected, std::int64_t start,
                    const Rotary& rotary, const Tensor& query, const Tensor& key,
                    const Tensor& value) {
  const Layout layout = layout_of(query, key, start);
  if (layout.rows == 0) return;
  const auto grid = static_cast<unsigned>(ceil_div(layout.rows, kRows));
  with_compute_type(projected.dtype, [&](auto element) {
    using T = typename decltype(element)::Type;
    const bool wide = aligned_to(16, projected, query, key, value) &&
                      whole_packets(layout, rotary, kFullWidth<T>);
    with_width<kFullWidth<T>>(wide, [&](auto packet) {
      constexpr int kWidth = decltype(packet)::value;
      SEQ1F1B_LAUNCH((to_carry_kernel<T, kWidth>), grid, kThreads, 0, context.stream,
                     projected.as<const T>(), turns_of(rotary, 1), layout, query.as<T>(),
                     key.as<T>(), value.as<T>());
    });
  });
}

// A turn is orthogonal: its transpose is the turn back.
void split_qkv_rope_backward(Context& context, const Tensor& grad_query, const Tensor& grad_key,
                             const Tensor& grad_value, std::int64_t start, const Rotary& rotary,
                             const Tensor& grad_projected) {
  const Layout layout = layout_of(grad_query, grad_key, start);
  if (layout.rows == 0) return;
  const auto grid = static_cast<unsigned>(ceil_div(layout.rows, kRows));
  with_compute_type(grad_projected.dtype, [&](auto element) {
    using T = typename decltype(element)::Type;
    // Packets of 4 in both types, so that accesses of a warp to the fp32 gradients are contiguous.
    constexpr int kFull = 4;
    const bool wide = aligned_to(16, grad_query, grad_key, grad_value, grad_projected) &&
                      whole_packets(layout, rotary, kFull);
    with_width<kFull>(wide, [&](auto packet) {
      constexpr int kWidth = decltype(packet)::value;
      SEQ1F1B_LAUNCH((from_carry_kernel<T, kWidth>), grid, kThreads, 0, context.stream,
                     grad_query.as<const T>(), grad_key.as<const float>(),
                     grad_value.as<const float>(), turns_of(rotary, -1), layout,
                     grad_projected.as<T>());
    });
  });
}

}  // namespace seq1f1b::kernels::cuda
