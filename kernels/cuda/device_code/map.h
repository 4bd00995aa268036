#pragma once
// output[i] = function(first[i]) or function(first[i], second[i]) over flat ranges of elements.
//
// Bytes: each input read once, the output written once; bound by memory as long as the function
// costs less than about 25 instructions per 4 bytes moved.
// Mapping: a block takes tiles of kMapThreads * kUnroll packets in a loop with the grid's stride; a
// thread loads all its packets of a tile before it computes. The output may be an input.
// Deterministic: elements are independent. Limits: none.
#include "kernels/cuda/device_code/vector.h"
#include "kernels/cuda/launch.h"

namespace seq1f1b::kernels::cuda {

inline constexpr int kMapThreads = 256;

template <int kInputs, int kWidth, int kUnroll, class Function, class Input, class Output>
__global__ void __launch_bounds__(kMapThreads)
    map_kernel(Function function, std::int64_t count, const Input* first, const Input* second,
               Output* output) {
  const auto apply = [&](float a, float b) {
    if constexpr (kInputs == 1)
      return function(a);
    else
      return function(a, b);
  };
  constexpr std::int64_t kTile = kMapThreads * kUnroll;
  const std::int64_t packets = count / kWidth;
  for (std::int64_t begin = blockIdx.x * kTile + threadIdx.x; begin < packets;
       begin += gridDim.x * kTile) {
    Packet<Input, kWidth> a[kUnroll], b[kUnroll];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const std::int64_t packet = begin + u * kMapThreads;
      if (packet >= packets) break;
      a[u].load(first + packet * kWidth);
      if constexpr (kInputs == 2) b[u].load(second + packet * kWidth);
    }
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const std::int64_t packet = begin + u * kMapThreads;
      if (packet >= packets) break;
      float x[kWidth], y[kWidth], z[kWidth];
      a[u].unpack(x);
      if constexpr (kInputs == 2) b[u].unpack(y);
#pragma unroll
      for (int i = 0; i < kWidth; ++i) z[i] = apply(x[i], kInputs == 2 ? y[i] : 0.0f);
      store_values<kWidth>(output + packet * kWidth, z);
    }
  }
  // Elements behind the last whole packet.
  const std::int64_t rest = packets * kWidth + threadIdx.x;
  if (blockIdx.x == 0 && rest < count)
    output[rest] = static_cast<Output>(apply(static_cast<float>(first[rest]),
                                             kInputs == 2 ? static_cast<float>(second[rest]) : 0));
}

template <class Input, class Output, class Function>
void map(Context& context, Function function, const Tensor& first, const Tensor& second,
         const Tensor& output) {
  const std::int64_t count = output.elements();
  if (count == 0) return;
  // Mixed types take the packets of the larger one, so that each access of a warp is contiguous.
  constexpr int kWidth = std::min(kFullWidth<Input>, kFullWidth<Output>);
  constexpr int kInputs = std::is_invocable_v<Function, float, float> ? 2 : 1;
  constexpr int kUnroll = kInputs == 1 ? 4 : 2;
  with_width<kWidth>(aligned_to(16, first, second, output), [&](auto width) {
    constexpr int kPacket = decltype(width)::value;
    const std::int64_t tiles =
        std::max<std::int64_t>(1, ceil_div(count / kPacket, kMapThreads * kUnroll));
    SEQ1F1B_LAUNCH((map_kernel<kInputs, kPacket, kUnroll, Function, Input, Output>),
                   loop_grid(context, tiles), kMapThreads, 0, context.stream, function, count,
                   first.as<const Input>(), second.as<const Input>(), output.as<Output>());
  });
}

}  // namespace seq1f1b::kernels::cuda
