#include <algorithm>
#include <cstring>

#include "kernels/cpu/kernels.h"

namespace seq1f1b::kernels::cpu {

void fill(const Context& context, const Tensor& output, double value) {
  context.for_ranges(output.elements(), [&](std::int64_t begin, std::int64_t end) {
    if (output.dtype == Dtype::kI32)
      std::fill(output.as<std::int32_t>() + begin, output.as<std::int32_t>() + end,
                static_cast<std::int32_t>(value));
    else
      std::fill(output.as<float>() + begin, output.as<float>() + end, static_cast<float>(value));
  });
}

void copy(const Context& context, const Tensor& input, const Tensor& output) {
  const auto width = static_cast<std::int64_t>(dtype_bytes(input.dtype));
  context.for_ranges(input.elements(), [&](std::int64_t begin, std::int64_t end) {
    std::memcpy(output.as<std::byte>() + begin * width, input.as<std::byte>() + begin * width,
                static_cast<std::size_t>((end - begin) * width));
  });
}

void accumulate(const Context& context, const Tensor& input, const Tensor& output) {
  context.for_ranges(input.elements(), [&](std::int64_t begin, std::int64_t end) {
    context.loops.add(input.as<float>() + begin, output.as<float>() + begin, end - begin);
  });
}

}  // namespace seq1f1b::kernels::cpu
