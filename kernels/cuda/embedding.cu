// Embedding: rows of the table gathered, and their gradients added.
//
// Bytes, bf16: forward 2 + 2 per element, with positions 4 + 2; backward 2 per element of
// grad_output for the words and again for the positions, and 4 + 4 per element of every table row
// met. Bound by memory, and by latency where one word is most of the text.
// Mapping: forward, a block per row. Backward: atomic minima and maxima (of integers, so in any
// order the same) find the first and last row of every word; the block of a word's first row walks
// to the last, collects the word's rows in order and adds them, kWordThreads packets per block.
// Positions: a block per position adds the rows of the micro-batch.
// Deterministic: every sum is in row order. Limits: fewer than 2^31 rows. A token outside the
// vocabulary gives a row of NaN and no gradient.
#include <limits>

#include "kernels/cuda/device_code/reduce.h"
#include "kernels/cuda/device_code/vector.h"
#include "kernels/cuda/kernels.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/scratch_pointwise.h"

namespace seq1f1b::kernels::cuda {
namespace {

constexpr int kThreads = 256;

template <class T, int kWidth>
__global__ void __launch_bounds__(kThreads)
    gather_kernel(const std::int32_t* tokens, std::int64_t length, const T* weight,
                  std::int64_t vocab, const T* position_weight, T* output, std::int64_t hidden) {
  const std::int64_t row = blockIdx.x;
  const std::int32_t token = tokens[row];
  const bool known = token >= 0 && token < vocab;
  const T* word = weight + (known ? token * hidden : 0);
  const T* position = position_weight ? position_weight + row % length * hidden : nullptr;
  for (std::int64_t column = threadIdx.x * kWidth; column < hidden;
       column += static_cast<std::int64_t>(blockDim.x) * kWidth) {
    float x[kWidth], p[kWidth] = {};
    load_values<kWidth>(word + column, x);
    if (position) load_values<kWidth>(position + column, p);
#pragma unroll
    for (int i = 0; i < kWidth; ++i)
      x[i] = known ? x[i] + p[i] : std::numeric_limits<float>::quiet_NaN();
    store_values<kWidth>(output + row * hidden + column, x);
  }
}

// ---- backward -----------------------------------------------------------------------------------

// Where a word occurs; only entries of words that occur have a meaning.
struct Occurrences {
  int *first, *last;  // [vocab]
};

__global__ void __launch_bounds__(kThreads)
    clear_occurrences_kernel(const std::int32_t* tokens, int rows, std::int64_t vocab,
                             Occurrences where) {
  const int row = blockIdx.x * kThreads + threadIdx.x;
  if (row >= rows || tokens[row] < 0 || tokens[row] >= vocab) return;
  where.first[tokens[row]] = rows;
  where.last[tokens[row]] = -1;
}

__global__ void __launch_bounds__(kThreads)
    find_occurrences_kernel(const std::int32_t* tokens, int rows, std::int64_t vocab,
                            Occurrences where) {
  const int row = blockIdx.x * kThreads + threadIdx.x;
  if (row >= rows || tokens[row] < 0 || tokens[row] >= vocab) return;
  atomicMin(&where.first[tokens[row]], row);
  atomicMax(&where.last[tokens[row]], row);
}

constexpr int kWordThreads = 128, kRowsInFlight = 8;

// grid.x: rows, grid.y: tiles of columns, a packet per thread.
template <class T, int kWidth>
__global__ void __launch_bounds__(kWordThreads)
    add_words_kernel(const std::int32_t* tokens, std::int64_t vocab, Occurrences where,
                     const T* grad_output, float* grad_weight, std::int64_t hidden) {
  // The word's rows among the next kWordThreads, in order.
  SEQ1F1B_SHARED(found, int[kWordThreads]);
  SEQ1F1B_SHARED(counts, int[kWordThreads / kWarp]);
  const int row = blockIdx.x;
  const std::int32_t token = tokens[row];
  if (token < 0 || token >= vocab || where.first[token] != row) return;
  const int last = where.last[token];
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  const std::int64_t column =
      (static_cast<std::int64_t>(blockIdx.y) * kWordThreads + threadIdx.x) * kWidth;
  const bool mine = column < hidden;
  float sum[kWidth] = {};
  for (int begin = row; begin <= last; begin += kWordThreads) {
    const int candidate = begin + static_cast<int>(threadIdx.x);
    const bool match = candidate <= last && tokens[candidate] == token;
    const unsigned matches = __ballot_sync(kWholeWarp, match);
    if (lane == 0) counts[warp] = __popc(matches);
    __syncthreads();
    int before = 0, count = 0;
#pragma unroll
    for (int w = 0; w < kWordThreads / kWarp; ++w) {
      if (w == warp) before = count;
      count += counts[w];
    }
    // No other barrier is needed: `counts` is read before this loop's second barrier and `found`
    // before its next first one.
    if (match) found[before + __popc(matches & ((1u << lane) - 1))] = candidate;
    __syncthreads();
    for (int n = 0; n < count && mine; n += kRowsInFlight) {
      Packet<T, kWidth> held[kRowsInFlight];
#pragma unroll
      for (int k = 0; k < kRowsInFlight; ++k)
        if (n + k < count) held[k].load(grad_output + found[n + k] * hidden + column);
#pragma unroll
      for (int k = 0; k < kRowsInFlight; ++k) {
        if (n + k >= count) break;
        float x[kWidth];
        held[k].unpack(x);
#pragma unroll
        for (int i = 0; i < kWidth; ++i) sum[i] += x[i];
      }
    }
  }
  if (!mine) return;
  float* target = grad_weight + token * hidden + column;
  float old[kWidth];
  load_values<kWidth>(target, old);
#pragma unroll
  for (int i = 0; i < kWidth; ++i) old[i] += sum[i];
  store_values<kWidth>(target, old);
}

// A block per position.
template <class T, int kWidth>
__global__ void __launch_bounds__(kThreads)
    add_positions_kernel(const T* grad_output, std::int64_t micro_batch, std::int64_t length,
                         float* grad_position_weight, std::int64_t hidden) {
  const std::int64_t position = blockIdx.x;
  for (std::int64_t column = threadIdx.x * kWidth; column < hidden;
       column += static_cast<std::int64_t>(blockDim.x) * kWidth) {
    float* target = grad_position_weight + position * hidden + column;
    float sum[kWidth] = {}, old[kWidth];
#pragma unroll 4
    for (std::int64_t b = 0; b < micro_batch; ++b) {
      float x[kWidth];
      load_values<kWidth>(grad_output + (b * length + position) * hidden + column, x);
#pragma unroll
      for (int i = 0; i < kWidth; ++i) sum[i] += x[i];
    }
    load_values<kWidth>(target, old);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) old[i] += sum[i];
    store_values<kWidth>(target, old);
  }
}

int row_threads(std::int64_t packets) {
  return round_to_warps(std::min<std::int64_t>(packets, kThreads));
}

}  // namespace

void embedding_forward(Context& context, const Tensor& tokens, const Tensor& weight,
                       const Tensor& position_weight, std::int64_t start, const Tensor& output) {
  if (output.elements() == 0) return;
  const std::int64_t rows = tokens.elements(), hidden = weight.dim(1);
  with_compute_type(output.dtype, [&](auto element) {
    using T = typename decltype(element)::Type;
    const bool wide =
        aligned_to(16, weight, position_weight, output) && hidden % kFullWidth<T> == 0;
    with_width<kFullWidth<T>>(wide, [&](auto packet) {
      constexpr int kWidth = decltype(packet)::value;
      const T* positions =
          position_weight ? position_weight.as<const T>() + start * hidden : nullptr;
      SEQ1F1B_LAUNCH((gather_kernel<T, kWidth>), static_cast<unsigned>(rows),
                     static_cast<unsigned>(row_threads(hidden / kWidth)), 0, context.stream,
                     tokens.as<const std::int32_t>(), tokens.dim(1), weight.as<const T>(),
                     weight.dim(0), positions, output.as<T>(), hidden);
    });
  });
}

void embedding_backward(Context& context, const Tensor& tokens, const Tensor& grad_output,
                        std::int64_t start, const Tensor& grad_weight,
                        const Tensor& grad_position_weight) {
  if (grad_output.elements() == 0) return;
  const std::int64_t vocab = grad_weight.dim(0), hidden = grad_weight.dim(1);
  SEQ1F1B_ASSERT(tokens.elements() <= std::numeric_limits<std::int32_t>::max(), tokens.elements(),
                 " tokens in one call");
  const int rows = static_cast<int>(tokens.elements());
  const auto* words = tokens.as<const std::int32_t>();
  Occurrences where;
  where.first = context.scratch.take<int>(static_cast<std::size_t>(vocab));
  where.last = context.scratch.take<int>(static_cast<std::size_t>(vocab));
  const auto row_blocks = static_cast<unsigned>(ceil_div(rows, kThreads));
  SEQ1F1B_LAUNCH(clear_occurrences_kernel, row_blocks, kThreads, 0, context.stream, words, rows,
                 vocab, where);
  SEQ1F1B_LAUNCH(find_occurrences_kernel, row_blocks, kThreads, 0, context.stream, words, rows,
                 vocab, where);
  with_compute_type(grad_output.dtype, [&](auto element) {
    using T = typename decltype(element)::Type;
    // Packets of 4 in both types, so that accesses of a warp to the fp32 gradients are contiguous.
    constexpr int kFull = 4;
    const bool wide =
        aligned_to(16, grad_output, grad_weight, grad_position_weight) && hidden % kFull == 0;
    with_width<kFull>(wide, [&](auto packet) {
      constexpr int kWidth = decltype(packet)::value;
      const std::int64_t packets = hidden / kWidth;
      const dim3 grid(static_cast<unsigned>(rows),
                      static_cast<unsigned>(ceil_div(packets, kWordThreads)));
      SEQ1F1B_LAUNCH((add_words_kernel<T, kWidth>), grid, kWordThreads, 0, context.stream, words,
                     vocab, where, grad_output.as<const T>(), grad_weight.as<float>(), hidden);
      if (!grad_position_weight) return;
      SEQ1F1B_LAUNCH((add_positions_kernel<T, kWidth>), static_cast<unsigned>(tokens.dim(1)),
                     static_cast<unsigned>(row_threads(packets)), 0, context.stream,
                     grad_output.as<const T>(), tokens.dim(0), tokens.dim(1),
                     grad_position_weight.as<float>() + start * hidden, hidden);
    });
  });
}

}  // namespace seq1f1b::kernels::cuda
