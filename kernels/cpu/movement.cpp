#include <algorithm>
#include <cstring>

#include "kernels/cpu/dtype.h"
#include "kernels/cpu/kernels.h"

namespace seq1f1b::kernels::cpu {

template <class T>
void fill(const Context<T>& context, const Tensor& output, double value) {
  context.for_ranges(output.elements(), [&](std::int64_t begin, std::int64_t end) {
    if (output.dtype == Dtype::kI32)
      std::fill(output.as<std::int32_t>() + begin, output.as<std::int32_t>() + end,
                static_cast<std::int32_t>(value));
    else if (output.dtype == kDtypeOf<T>)
      std::fill(output.as<T>() + begin, output.as<T>() + end,
                static_cast<T>(static_cast<float>(value)));
    else
      std::fill(output.as<float>() + begin, output.as<float>() + end, static_cast<float>(value));
  });
}

template <class T>
void copy(const Context<T>& context, const Tensor& input, const Tensor& output) {
  const auto width = static_cast<std::int64_t>(dtype_bytes(input.dtype));
  context.for_ranges(input.elements(), [&](std::int64_t begin, std::int64_t end) {
    std::memcpy(output.as<std::byte>() + begin * width, input.as<std::byte>() + begin * width,
                static_cast<std::size_t>((end - begin) * width));
  });
}

template <class T>
void cast(const Context<T>& context, const Tensor& input, const Tensor& output) {
  if (input.dtype == output.dtype) return copy(context, input, output);
  context.for_ranges(input.elements(), [&](std::int64_t begin, std::int64_t end) {
    if (output.dtype == Dtype::kF32)
      context.loops.widen(input.as<T>() + begin, output.as<float>() + begin, end - begin);
    else
      context.loops.narrow(input.as<float>() + begin, output.as<T>() + begin, end - begin);
  });
}

template <class T>
void accumulate(const Context<T>& context, const Tensor& input, const Tensor& output) {
  context.for_ranges(input.elements(), [&](std::int64_t begin, std::int64_t end) {
    context.loops.accumulate(input.as<float>() + begin, output.as<float>() + begin, end - begin);
  });
}

template void fill(const Context<float>&, const Tensor&, double);
template void copy(const Context<float>&, const Tensor&, const Tensor&);
template void cast(const Context<float>&, const Tensor&, const Tensor&);
template void accumulate(const Context<float>&, const Tensor&, const Tensor&);

}  // namespace seq1f1b::kernels::cpu
