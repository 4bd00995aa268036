// The activations of the feed-forward layer: gelu (tanh form) and swiglu, forward and backward.
//
// Bytes per element of output, bf16: gelu forward 2 + 2, backward 4 + 2; swiglu forward 4 + 2,
// backward 6 + 4. Bound by memory in bf16 with the fast exponential and reciprocal below; a bf16
// result keeps 8 bits, they keep 21. fp32 takes the exact ones.
// Mapping: gelu by flat ranges of elements; swiglu by packets numbered through rows, in a loop with
// the grid's stride. Deterministic: elements are independent.
// Limits: swiglu's output has fewer than 2^31 packets.
#include <limits>

#include "kernels/cuda/device_code/map.h"
#include "kernels/cuda/device_code/math.h"
#include "kernels/cuda/kernels.h"

namespace seq1f1b::kernels::cuda {
namespace {

constexpr float kSlope = 0.79788456f;  // sqrt(2 / pi)
constexpr float kCubic = 0.044715f;    // Hendrycks & Gimpel, arXiv 1606.08415, section 2

// 0.5 (1 + tanh u) = logistic(2u): one exponential, and no cancellation where tanh u nears -1.
template <class T>
struct Gelu {
  __device__ __forceinline__ float operator()(float x) const {
    return x * logistic<T>(2.0f * kSlope * (x + kCubic * x * x * x));
  }
};

template <class T>
struct GeluBackward {
  __device__ __forceinline__ float operator()(float x, float grad_output) const {
    const float s = logistic<T>(2.0f * kSlope * (x + kCubic * x * x * x));
    const float inner_slope = 2.0f * kSlope * (1.0f + 3.0f * kCubic * x * x);
    return grad_output * (s + x * s * (1.0f - s) * inner_slope);
  }
};

constexpr int kThreads = 256, kUnroll = 2;

// Calls body(packet's row, its column) for this thread's packets of [rows, columns], kUnroll at a
// time so that their loads overlap: load(slot, row, column) for all, then finish(slot, ...).
template <int kWidth, class Load, class Finish>
__device__ __forceinline__ void for_packets(std::uint32_t packets, std::uint32_t row_packets,
                                            Load load, Finish finish) {
  const std::uint32_t tile = kThreads * kUnroll;
  for (std::uint32_t begin = blockIdx.x * tile + threadIdx.x; begin < packets;
       begin += gridDim.x * tile) {
    std::int64_t rows[kUnroll], columns[kUnroll];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const std::uint32_t packet = begin + u * kThreads;
      rows[u] = packet / row_packets;
      columns[u] = (packet % row_packets) * kWidth;
      if (packet < packets) load(u, rows[u], columns[u]);
    }
#pragma unroll
    for (int u = 0; u < kUnroll; ++u)
      if (begin + u * kThreads < packets) finish(u, rows[u], columns[u]);
  }
}

template <class T, int kWidth>
__global__ void __launch_bounds__(kThreads)
    swiglu_forward_kernel(const T* gate_up, std::int64_t ffn, std::uint32_t packets, T* output) {
  Packet<T, kWidth> gates[kUnroll], ups[kUnroll];
  for_packets<kWidth>(
      packets, static_cast<std::uint32_t>(ffn / kWidth),
      [&](int u, std::int64_t row, std::int64_t column) {
        gates[u].load(gate_up + row * 2 * ffn + column);
        ups[u].load(gate_up + (row * 2 + 1) * ffn + column);
      },
      [&](int u, std::int64_t row, std::int64_t column) {
        float gate[kWidth], up[kWidth];
        gates[u].unpack(gate);
        ups[u].unpack(up);
#pragma unroll
        for (int i = 0; i < kWidth; ++i) gate[i] = gate[i] * logistic<T>(gate[i]) * up[i];
        store_values<kWidth>(output + row * ffn + column, gate);
      });
}

template <class T, int kWidth>
__global__ void __launch_bounds__(kThreads)
    swiglu_backward_kernel(const T* gate_up, const T* grad_output, std::int64_t ffn,
                           std::uint32_t packets, T* grad_gate_up) {
  Packet<T, kWidth> gates[kUnroll], ups[kUnroll], grads[kUnroll];
  for_packets<kWidth>(
      packets, static_cast<std::uint32_t>(ffn / kWidth),
      [&](int u, std::int64_t row, std::int64_t column) {
        gates[u].load(gate_up + row * 2 * ffn + column);
        ups[u].load(gate_up + (row * 2 + 1) * ffn + column);
        grads[u].load(grad_output + row * ffn + column);
      },
      [&](int u, std::int64_t row, std::int64_t column) {
        float gate[kWidth], up[kWidth], grad[kWidth];
        gates[u].unpack(gate);
        ups[u].unpack(up);
        grads[u].unpack(grad);
#pragma unroll
        for (int i = 0; i < kWidth; ++i) {
          const float s = logistic<T>(gate[i]);
          const float grad_up = grad[i] * gate[i] * s;
          gate[i] = grad[i] * up[i] * s * (1.0f + gate[i] * (1.0f - s));
          up[i] = grad_up;
        }
        store_values<kWidth>(grad_gate_up + row * 2 * ffn + column, gate);
        store_values<kWidth>(grad_gate_up + (row * 2 + 1) * ffn + column, up);
      });
}

// The packets of `output`, and the grid that goes over them.
struct Share {
  std::uint32_t packets;
  unsigned grid;
};
Share share_of(const Context& context, const Tensor& output, int width) {
  const std::int64_t packets = output.elements() / width;
  SEQ1F1B_ASSERT(packets <= std::numeric_limits<std::int32_t>::max(), "swiglu of ",
                 describe(output), " has too many elements");
  return {static_cast<std::uint32_t>(packets),
          loop_grid(context, ceil_div(packets, kThreads * kUnroll))};
}

template <class T>
bool wide(const Tensor& gate_up, const Tensor& output) {
  return aligned_to(16, gate_up, output) && last_dim(output) % kFullWidth<T> == 0;
}

}  // namespace

void gelu_forward(Context& context, const Tensor& input, const Tensor& output) {
  with_compute_type(input.dtype, [&](auto element) {
    using T = typename decltype(element)::Type;
    map<T, T>(context, Gelu<T>{}, input, {}, output);
  });
}

void gelu_backward(Context& context, const Tensor& input, const Tensor& grad_output,
                   const Tensor& grad_input) {
  with_compute_type(input.dtype, [&](auto element) {
    using T = typename decltype(element)::Type;
    map<T, T>(context, GeluBackward<T>{}, input, grad_output, grad_input);
  });
}

void swiglu_forward(Context& context, const Tensor& gate_up, const Tensor& output) {
  if (output.elements() == 0) return;
  with_compute_type(output.dtype, [&](auto element) {
    using T = typename decltype(element)::Type;
    with_width<kFullWidth<T>>(wide<T>(gate_up, output), [&](auto width) {
      constexpr int kWidth = decltype(width)::value;
      const Share share = share_of(context, output, kWidth);
      SEQ1F1B_LAUNCH((swiglu_forward_kernel<T, kWidth>), share.grid, kThreads, 0, context.stream,
                     gate_up.as<const T>(), last_dim(output), share.packets, output.as<T>());
    });
  });
}

void swiglu_backward(Context& context, const Tensor& gate_up, const Tensor& grad_output,
                     const Tensor& grad_gate_up) {
  if (grad_output.elements() == 0) return;
  with_compute_type(grad_output.dtype, [&](auto element) {
    using T = typename decltype(element)::Type;
    with_width<kFullWidth<T>>(
        wide<T>(gate_up, grad_output) && aligned_to(16, grad_gate_up), [&](auto width) {
          constexpr int kWidth = decltype(width)::value;
          const Share share = share_of(context, grad_output, kWidth);
          SEQ1F1B_LAUNCH((swiglu_backward_kernel<T, kWidth>), share.grid, kThreads, 0,
                         context.stream, gate_up.as<const T>(), grad_output.as<const T>(),
                         last_dim(grad_output), share.packets, grad_gate_up.as<T>());
        });
  });
}

}  // namespace seq1f1b::kernels::cuda
