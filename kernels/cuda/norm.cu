// layernorm and rmsnorm: forward, the same output again from saved statistics, and backward.
//
//   n = (input - mean) * rstd, rstd = 1 / sqrt(mean((input - mean)^2) + epsilon)
//   output = n * weight + bias
//   grad_input = rstd (g - n mean(g n) - mean(g)) (+ grad_residual), g = grad_output * weight
//   grad_weight += sum of grad_output n; grad_bias += sum of grad_output
// For rmsnorm mean and mean(g) are 0. Derivation: kernels/reference/norm.cpp.
//
// Bytes per element, bf16: forward and apply 2 + 2; backward 4 + 2, with a residual 6 + 2, and
// partial sums of 8 bytes per column and block of at least 8 rows. All are bound by memory.
// Mapping: forward and apply give a row to a warp, from about 1024 columns on to a block; backward
// gives a block consecutive rows, each thread keeping its columns' weight-gradient sums, and a
// second kernel adds the blocks' sums. Rows stay in registers, forward's up to 32768 columns (fp32
// 16384, one by one 4096), backward's up to 8192; longer ones are read again from L1 or L2. Beyond
// 16384 columns (fp32 8192, one by one 4096) backward keeps the weight gradients' sums in scratch.
// Deterministic: shares and orders depend on the shape alone, apart from the packet's width, which
// is 1 where rows do not begin at multiples of 16 bytes. Apply repeats forward's output bit for
// bit: it is the same code with explicit fused multiplications. Limits: none.
#include "kernels/cuda/device_code/column_sums.h"
#include "kernels/cuda/device_code/norm_rows.h"
#include "kernels/cuda/kernels.h"
#include "kernels/cuda/scratch_pointwise.h"

namespace seq1f1b::kernels::cuda {
namespace {

// ---- forward ------------------------------------------------------------------------------------

constexpr int kForwardHeld = 4;  // packets of a thread
constexpr int kForwardThreads = 1024;
constexpr int kForwardRows = 4;  // of a block, where a row is one warp's

// With kSaved the statistics are read, else written.
template <bool kSaved, class T, int kWidth, int kHeld>
__global__ void __launch_bounds__(kHeld ? kForwardThreads : kForwardThreads / 2)
    norm_forward_kernel(bool centred, const T* input, const T* weight, const T* bias, float epsilon,
                        T* output, float* statistics, std::int64_t rows, int packets) {
  SEQ1F1B_SHARED(shared, float[kMaxWarps]);
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
  if (row >= rows) return;  // whole warps, in blocks that do not meet
  const std::int64_t width = static_cast<std::int64_t>(packets) * kWidth;
  const float columns = static_cast<float>(width);
  const NormRow<T, kWidth, kHeld> values(input + row * width, packets);
  float mean = 0, rstd = 0;
  if constexpr (kSaved) {
    mean = statistics[2 * row];
    rstd = statistics[2 * row + 1];
  } else {
    // Two passes over registers: the second cannot cancel as mean(x^2) - mean^2 does.
    if (centred) {
      values.visit([&](int, const float(&x)[kWidth]) {
#pragma unroll
        for (int i = 0; i < kWidth; ++i) mean += x[i];
      });
      mean = block_sum(mean, shared) / columns;
    }
    float squares = 0;
    values.visit([&](int, const float(&x)[kWidth]) {
#pragma unroll
      for (int i = 0; i < kWidth; ++i) squares += (x[i] - mean) * (x[i] - mean);
    });
    rstd = 1.0f / sqrtf(block_sum(squares, shared) / columns + epsilon);
    if (threadIdx.x == 0) {
      statistics[2 * row] = mean;
      statistics[2 * row + 1] = rstd;
    }
  }
  values.visit([&](int packet, const float(&x)[kWidth]) {
    const std::int64_t column = static_cast<std::int64_t>(packet) * kWidth;
    float w[kWidth], b[kWidth] = {}, y[kWidth];
    load_values<kWidth>(weight + column, w);
    if (bias) load_values<kWidth>(bias + column, b);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) y[i] = fmaf((x[i] - mean) * rstd, w[i], b[i]);
    store_values<kWidth>(output + row * width + column, y);
  });
}

template <bool kSaved>
void launch_forward(Context& context, NormKind kind, const Tensor& input, const Tensor& weight,
                    const Tensor& bias, double epsilon, const Tensor& output,
                    const Tensor& statistics) {
  const std::int64_t width = weight.elements();
  if (input.elements() == 0) return;
  const std::int64_t rows = input.elements() / width;
  with_compute_type(input.dtype, [&](auto element) {
    using T = typename decltype(element)::Type;
    const bool wide = aligned_to(16, input, weight, bias, output) && width % kFullWidth<T> == 0;
    with_width<kFullWidth<T>>(wide, [&](auto packet) {
      constexpr int kWidth = decltype(packet)::value;
      const std::int64_t packets = width / kWidth;
      const auto launch = [&](auto held, int threads) {
        constexpr int kHeld = decltype(held)::value;
        const int block_rows = threads == kWarp ? kForwardRows : 1;
        SEQ1F1B_LAUNCH((norm_forward_kernel<kSaved, T, kWidth, kHeld>),
                       static_cast<unsigned>(ceil_div(rows, block_rows)),
                       dim3(static_cast<unsigned>(threads), static_cast<unsigned>(block_rows)), 0,
                       context.stream, kind == NormKind::kLayerNorm, input.as<const T>(),
                       weight.as<const T>(), bias.as<const T>(), static_cast<float>(epsilon),
                       output.as<T>(), statistics.as<float>(), rows, static_cast<int>(packets));
      };
      if (packets <= kForwardHeld * kForwardThreads)
        launch(std::integral_constant<int, kForwardHeld>{},
               round_to_warps(ceil_div(packets, kForwardHeld)));
      else
        launch(std::integral_constant<int, 0>{}, kForwardThreads / 2);
    });
  });
}

// ---- backward -----------------------------------------------------------------------------------

constexpr int kBackwardThreads = 512;

template <class T, int kWidth, int kHeld>
__global__ void __launch_bounds__(kBackwardThreads, kWidth > 1 && kHeld * kWidth <= 8 ? 2 : 1)
    norm_backward_kernel(bool centred, const T* grad_output, const T* input,
                         const float* statistics, const T* weight, const T* grad_residual,
                         T* grad_input, float* weight_partials, float* bias_partials,
                         std::int64_t rows, std::int64_t share, int packets) {
  SEQ1F1B_SHARED(shared, float[2 * kMaxWarps]);
  const std::int64_t width = static_cast<std::int64_t>(packets) * kWidth;
  const std::int64_t begin = blockIdx.x * share, end = min(rows, begin + share);
  NormGradientSums<kWidth, kHeld> sums(
      weight_partials + blockIdx.x * width,
      bias_partials ? bias_partials + blockIdx.x * width : nullptr);
  for (std::int64_t row = begin; row < end; ++row) {
    const float mean = statistics[2 * row], rstd = statistics[2 * row + 1];
    // Rows that fill the registers with sums are read again below: they lie in L1.
    constexpr int kKept = kWidth > 1 && kHeld * kWidth <= 16 ? kHeld : 0;
    const NormRow<T, kWidth, kKept> values(input + row * width, packets);
    const NormRow<T, kWidth, kKept> gradients(grad_output + row * width, packets);
    NormRow<T, kWidth, kKept> residuals{};
    if (grad_residual) residuals.read(grad_residual + row * width, packets);
    float along_ones = 0, along_input = 0;
    sums.visit(
        packets,
        [&](int k, int packet, float(&weight_sum)[kWidth], float(&bias_sum)[kWidth]) {
          float x[kWidth], g[kWidth], w[kWidth];
          values.get(k, packet, x);
          gradients.get(k, packet, g);
          load_values<kWidth>(weight + static_cast<std::int64_t>(packet) * kWidth, w);
#pragma unroll
          for (int i = 0; i < kWidth; ++i) {
            const float normalised = (x[i] - mean) * rstd, weighted = g[i] * w[i];
            along_ones += weighted;
            along_input += weighted * normalised;
            weight_sum[i] += g[i] * normalised;
            bias_sum[i] += g[i];
          }
        },
        row == begin);
    block_sums(along_ones, along_input, shared);
    along_ones = centred ? along_ones / static_cast<float>(width) : 0.0f;
    along_input /= static_cast<float>(width);
    for_held<kHeld>(packets, [&](int k, int packet) {
      const std::int64_t column = static_cast<std::int64_t>(packet) * kWidth;
      float x[kWidth], g[kWidth], w[kWidth], residual[kWidth] = {};
      values.get(k, packet, x);
      gradients.get(k, packet, g);
      load_values<kWidth>(weight + column, w);
      if (grad_residual) residuals.get(k, packet, residual);
#pragma unroll
      for (int i = 0; i < kWidth; ++i) {
        const float normalised = (x[i] - mean) * rstd;
        x[i] = rstd * (g[i] * w[i] - normalised * along_input - along_ones) + residual[i];
      }
      store_values<kWidth>(grad_input + row * width + column, x);
    });
  }
  sums.store(packets);
}

}  // namespace

void norm_forward(Context& context, NormKind kind, const Tensor& input, const Tensor& weight,
                  const Tensor& bias, double epsilon, const Tensor& output,
                  const Tensor& statistics) {
  launch_forward<false>(context, kind, input, weight, bias, epsilon, output, statistics);
}

void norm_apply(Context& context, NormKind kind, const Tensor& input, const Tensor& statistics,
                const Tensor& weight, const Tensor& bias, const Tensor& output) {
  launch_forward<true>(context, kind, input, weight, bias, 0, output, statistics);
}

void norm_backward(Context& context, NormKind kind, const Tensor& grad_output, const Tensor& input,
                   const Tensor& statistics, const Tensor& weight, const Tensor& grad_residual,
                   const Tensor& grad_input, const Tensor& grad_weight, const Tensor& grad_bias) {
  const std::int64_t width = weight.elements();
  if (input.elements() == 0) return;
  const std::int64_t rows = input.elements() / width;
  const Shares shares = norm_shares(rows, width);
  const auto partial_elements = static_cast<std::size_t>(shares.count * width);
  auto* weight_partials = context.scratch.take<float>(partial_elements);
  auto* bias_partials = grad_bias ? context.scratch.take<float>(partial_elements) : nullptr;
  with_compute_type(input.dtype, [&](auto element) {
    using T = typename decltype(element)::Type;
    const bool wide = aligned_to(16, grad_output, input, weight, grad_residual, grad_input) &&
                      width % kFullWidth<T> == 0;
    with_width<kFullWidth<T>>(wide, [&](auto packet) {
      constexpr int kWidth = decltype(packet)::value;
      const std::int64_t packets = width / kWidth;
      const auto launch = [&](auto held) {
        constexpr int kHeld = decltype(held)::value;
        const int threads = kHeld ? round_to_warps(ceil_div(packets, kHeld)) : kBackwardThreads;
        SEQ1F1B_LAUNCH((norm_backward_kernel<T, kWidth, kHeld>),
                       static_cast<unsigned>(shares.count), static_cast<unsigned>(threads), 0,
                       context.stream, kind == NormKind::kLayerNorm, grad_output.as<const T>(),
                       input.as<const T>(), statistics.as<const float>(), weight.as<const T>(),
                       grad_residual.as<const T>(), grad_input.as<T>(), weight_partials,
                       bias_partials, rows, shares.size, static_cast<int>(packets));
      };
      // The elements of a row that a thread has registers for: 32 in packets of 8, 16 in packets of
      // 4, 8 one by one.
      constexpr int kMost = kWidth == 1 ? 8 : 4 * kWidth, kMore = std::min(16, kMost);
      if (width <= 8 * kBackwardThreads)
        launch(std::integral_constant<int, 8 / kWidth>{});
      else if (width <= kMore * kBackwardThreads)
        launch(std::integral_constant<int, kMore / kWidth>{});
      else if (width <= kMost * kBackwardThreads)
        launch(std::integral_constant<int, kMost / kWidth>{});
      else
        launch(std::integral_constant<int, 0>{});
    });
  });
  add_columns(context, {weight_partials, grad_weight.as<float>()},
              {bias_partials, grad_bias.as<float>()}, shares.count, width);
}

}  // namespace seq1f1b::kernels::cuda
