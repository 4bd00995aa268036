// Cross entropy of logits and labels, the gradient written over the logits.
//
//   loss = log(sum over c of exp(x_c - max)) + max - x_label
//   gradient_c = scale * (exp(x_c - max) / sum - (c == label))
//
// Bytes per logit, bf16: 2 read, and with the gradient 2 written; the gradient's pass reads the row
// again from L2, which holds the rows under way (264 rows of 50K bf16 logits: 25 MiB; where they do
// not fit, 4 are read). Bound by memory in bf16 with the fast exponential.
// Mapping: a block per row, in reverse, as the product that made the logits left the last ones in
// L2. Each thread keeps a running maximum and sum over its packets; they are brought to the row's
// maximum and added. The rows' losses go to scratch, and one block adds them.
// Deterministic: orders depend on vocab and the number of rows alone, apart from the packet's
// width, which is 1 where rows do not begin at multiples of 16 bytes. Limits: vocab below 2^31. A
// label beyond the vocabulary makes the loss NaN.
#include <limits>

#include "kernels/cuda/device_code/math.h"
#include "kernels/cuda/device_code/reduce.h"
#include "kernels/cuda/device_code/vector.h"
#include "kernels/cuda/kernels.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/scratch_pointwise.h"

namespace seq1f1b::kernels::cuda {
namespace {

// Two blocks fill a multiprocessor's registers; more would put more rows under way than L2 holds.
constexpr int kThreads = 768, kInFlight = 4;

// Below every logit but -inf, whose difference to it is still -inf and not NaN.
constexpr float kLowest = std::numeric_limits<float>::lowest();

// Calls body(packet, values) for this thread's packets, kInFlight loads at a time.
template <class T, int kWidth, class Body>
__device__ __forceinline__ void for_packets(const T* row, int packets, Body body) {
  for (int begin = threadIdx.x; begin < packets; begin += kInFlight * blockDim.x) {
    Packet<T, kWidth> held[kInFlight];
#pragma unroll
    for (int k = 0; k < kInFlight; ++k) {
      const int packet = begin + k * blockDim.x;
      if (packet < packets) held[k].load(row + static_cast<std::int64_t>(packet) * kWidth);
    }
#pragma unroll
    for (int k = 0; k < kInFlight; ++k) {
      const int packet = begin + k * blockDim.x;
      if (packet >= packets) break;
      float x[kWidth];
      held[k].unpack(x);
      body(packet, x);
    }
  }
}

template <class T, int kWidth>
__device__ __forceinline__ void store_zeros(T* row, int packets) {
  const float zeros[kWidth] = {};
  for (int packet = threadIdx.x; packet < packets; packet += blockDim.x)
    store_values<kWidth>(row + static_cast<std::int64_t>(packet) * kWidth, zeros);
}

template <class T, int kWidth>
__global__ void __launch_bounds__(kThreads, 2)
    cross_entropy_kernel(T* logits, const std::int32_t* labels, const double* scale,
                         bool write_gradient, double* losses, int packets) {
  SEQ1F1B_SHARED(shared, float[kMaxWarps]);
  const std::int64_t row = gridDim.x - 1 - blockIdx.x;
  const std::int64_t vocab = static_cast<std::int64_t>(packets) * kWidth;
  T* const x = logits + row * vocab;
  const std::int32_t label = labels[row];
  if (label < 0 || label >= vocab) {
    if (write_gradient) store_zeros<T, kWidth>(x, packets);
    if (threadIdx.x == 0) losses[row] = label < 0 ? 0.0 : std::numeric_limits<double>::quiet_NaN();
    return;
  }
  const float at_label = static_cast<float>(x[label]);
  float highest = kLowest, sum = 0;
  for_packets<T, kWidth>(x, packets, [&](int, const float(&values)[kWidth]) {
    // A NaN is never the highest; it enters through the sum.
    float top = values[0];
#pragma unroll
    for (int i = 1; i < kWidth; ++i) top = values[i] > top ? values[i] : top;
    if (top > highest) {
      sum *= exponential<T>(highest - top);
      highest = top;
    }
#pragma unroll
    for (int i = 0; i < kWidth; ++i) sum += exponential<T>(values[i] - highest);
  });
  const float row_highest = block_reduce<Maximum>(highest, kLowest, shared);
  const float row_sum = block_sum(sum * exponential<T>(highest - row_highest), shared);
  if (threadIdx.x == 0)
    losses[row] = log(static_cast<double>(row_sum)) +
                  (static_cast<double>(row_highest) - static_cast<double>(at_label));
  if (!write_gradient) return;
  const float factor = static_cast<float>(*scale), per_sum = factor / row_sum;
  // Of a block of one warp, which met no barrier: the label's logit has been read before another
  // lane writes its gradient there.
  __syncwarp();
  for_packets<T, kWidth>(x, packets, [&](int packet, float(&values)[kWidth]) {
    const int column = packet * kWidth;
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      const float share = exponential<T>(values[i] - row_highest) * per_sum;
      values[i] = column + i == label ? share - factor : share;
    }
    store_values<kWidth>(x + column, values);
  });
}

__global__ void __launch_bounds__(kThreads)
    add_losses_kernel(const double* losses, std::int64_t rows, double* loss_sum) {
  SEQ1F1B_SHARED(shared, double[kMaxWarps]);
  double sum = 0;
  for (std::int64_t row = threadIdx.x; row < rows; row += kThreads) sum += losses[row];
  sum = block_sum(sum, shared);
  if (threadIdx.x == 0) *loss_sum += sum;
}

}  // namespace

void cross_entropy(Context& context, const Tensor& logits, const Tensor& labels,
                   const double* scale, bool write_gradient, double* loss_sum) {
  const std::int64_t rows = labels.elements();
  if (rows == 0) return;
  const std::int64_t vocab = logits.elements() / rows;
  SEQ1F1B_ASSERT(vocab <= std::numeric_limits<std::int32_t>::max(), "vocabulary of ", vocab);
  auto* losses = context.scratch.take<double>(static_cast<std::size_t>(rows));
  with_compute_type(logits.dtype, [&](auto element) {
    using T = typename decltype(element)::Type;
    const bool wide = aligned_to(16, logits) && vocab % kFullWidth<T> == 0;
    with_width<kFullWidth<T>>(wide, [&](auto packet) {
      constexpr int kWidth = decltype(packet)::value;
      const std::int64_t packets = vocab / kWidth;
      const int threads = round_to_warps(std::min<std::int64_t>(packets, kThreads));
      SEQ1F1B_LAUNCH((cross_entropy_kernel<T, kWidth>), static_cast<unsigned>(rows),
                     static_cast<unsigned>(threads), 0, context.stream, logits.as<T>(),
                     labels.as<const std::int32_t>(), scale, write_gradient, losses,
                     static_cast<int>(packets));
    });
  });
  SEQ1F1B_LAUNCH(add_losses_kernel, 1, kThreads, 0, context.stream, losses, rows, loss_sum);
}

}  // namespace seq1f1b::kernels::cuda
