#include <algorithm>

#include "kernels/cpu/kernels.h"

namespace seq1f1b::kernels::cpu {
namespace {

// At most this many partial sums, so that their memory (blocks x 2 x width) stays small, over
// blocks of at least kBlockRows rows, so that adding them up stays cheap. Both follow from the row
// count alone.
constexpr std::int64_t kMostBlocks = 64;
constexpr std::int64_t kBlockRows = 16;

NormStatistics load(const Tensor& statistics, std::int64_t row) {
  const float* saved = statistics.as<float>() + 2 * row;
  return {saved[0], saved[1]};
}

}  // namespace

template <class T>
void norm_forward(const Context<T>& context, NormKind kind, const Tensor& input,
                  const Tensor& weight, const Tensor& bias, double epsilon, const Tensor& output,
                  const Tensor& statistics) {
  const std::int64_t width = weight.elements();
  context.for_each(input.elements() / width, input.elements(), [&](std::int64_t row) {
    const T* x = input.as<T>() + row * width;
    const NormStatistics found = context.loops.norm_statistics(x, kind == NormKind::kLayerNorm,
                                                               static_cast<float>(epsilon), width);
    float* saved = statistics.as<float>() + 2 * row;
    saved[0] = found.mean;
    saved[1] = found.rstd;
    context.loops.norm_apply(x, found, weight.as<T>(), bias.as<T>(), output.as<T>() + row * width,
                             width);
  });
}

template <class T>
void norm_apply(const Context<T>& context, const Tensor& input, const Tensor& statistics,
                const Tensor& weight, const Tensor& bias, const Tensor& output) {
  const std::int64_t width = weight.elements();
  context.for_each(input.elements() / width, input.elements(), [&](std::int64_t row) {
    context.loops.norm_apply(input.as<T>() + row * width, load(statistics, row), weight.as<T>(),
                             bias.as<T>(), output.as<T>() + row * width, width);
  });
}

template <class T>
void norm_backward(Context<T>& context, NormKind kind, const Tensor& grad_output,
                   const Tensor& input, const Tensor& statistics, const Tensor& weight,
                   const Tensor& grad_residual, const Tensor& grad_input, const Tensor& grad_weight,
                   const Tensor& grad_bias) {
  const std::int64_t width = weight.elements(), rows = input.elements() / width;
  const std::int64_t block_rows = std::max(kBlockRows, (rows + kMostBlocks - 1) / kMostBlocks);
  const std::int64_t blocks = (rows + block_rows - 1) / block_rows;
  const std::int64_t parts = grad_bias ? 2 : 1;  // weight, bias
  float* const partial = context.floats.at_least(blocks * parts * width);

  context.for_each(blocks, input.elements(), [&](std::int64_t block) {
    float* weight_sum = partial + block * parts * width;
    float* bias_sum = grad_bias ? weight_sum + width : nullptr;
    std::fill_n(weight_sum, parts * width, 0.0f);
    for (std::int64_t row = block * block_rows; row < std::min(rows, (block + 1) * block_rows);
         ++row)
      context.loops.norm_backward(grad_output.as<T>() + row * width, input.as<T>() + row * width,
                                  load(statistics, row), kind == NormKind::kLayerNorm,
                                  weight.as<T>(),
                                  grad_residual ? grad_residual.as<T>() + row * width : nullptr,
                                  grad_input.as<T>() + row * width, weight_sum, bias_sum, width);
  });

  // The first block collects the others, then all goes into the gradient at once, so that the sum
  // over this call's rows is rounded as a sum of its own.
  for (std::int64_t block = 1; block < blocks; ++block)
    context.loops.accumulate(partial + block * parts * width, partial, parts * width);
  context.loops.accumulate(partial, grad_weight.as<float>(), width);
  if (grad_bias) context.loops.accumulate(partial + width, grad_bias.as<float>(), width);
}

template void norm_forward(const Context<float>&, NormKind, const Tensor&, const Tensor&,
                           const Tensor&, double, const Tensor&, const Tensor&);
template void norm_apply(const Context<float>&, const Tensor&, const Tensor&, const Tensor&,
                         const Tensor&, const Tensor&);
template void norm_backward(Context<float>&, NormKind, const Tensor&, const Tensor&, const Tensor&,
                            const Tensor&, const Tensor&, const Tensor&, const Tensor&,
                            const Tensor&);

}  // namespace seq1f1b::kernels::cpu
