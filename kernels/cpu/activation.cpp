#include "kernels/cpu/kernels.h"

namespace seq1f1b::kernels::cpu {

template <class T>
void gelu_forward(const Context<T>& context, const Tensor& input, const Tensor& output) {
  context.for_ranges(input.elements(), [&](std::int64_t begin, std::int64_t end) {
    context.loops.gelu_forward(input.as<T>() + begin, output.as<T>() + begin, end - begin);
  });
}

template <class T>
void gelu_backward(const Context<T>& context, const Tensor& input, const Tensor& grad_output,
                   const Tensor& grad_input) {
  context.for_ranges(input.elements(), [&](std::int64_t begin, std::int64_t end) {
    context.loops.gelu_backward(input.as<T>() + begin, grad_output.as<T>() + begin,
                                grad_input.as<T>() + begin, end - begin);
  });
}

template <class T>
void swiglu_forward(const Context<T>& context, const Tensor& gate_up, const Tensor& output) {
  const std::int64_t ffn = output.dim(output.rank - 1), rows = output.elements() / ffn;
  context.for_each(rows, output.elements(), [&](std::int64_t row) {
    const T* gate = gate_up.as<T>() + row * 2 * ffn;
    context.loops.swiglu_forward(gate, gate + ffn, output.as<T>() + row * ffn, ffn);
  });
}

template <class T>
void swiglu_backward(const Context<T>& context, const Tensor& gate_up, const Tensor& grad_output,
                     const Tensor& grad_gate_up) {
  const std::int64_t ffn = grad_output.dim(grad_output.rank - 1);
  const std::int64_t rows = grad_output.elements() / ffn;
  context.for_each(rows, grad_output.elements(), [&](std::int64_t row) {
    const T* gate = gate_up.as<T>() + row * 2 * ffn;
    T* grad_gate = grad_gate_up.as<T>() + row * 2 * ffn;
    context.loops.swiglu_backward(gate, gate + ffn, grad_output.as<T>() + row * ffn, grad_gate,
                                  grad_gate + ffn, ffn);
  });
}

template void gelu_forward(const Context<float>&, const Tensor&, const Tensor&);
template void gelu_backward(const Context<float>&, const Tensor&, const Tensor&, const Tensor&);
template void swiglu_forward(const Context<float>&, const Tensor&, const Tensor&);
template void swiglu_backward(const Context<float>&, const Tensor&, const Tensor&, const Tensor&);

}  // namespace seq1f1b::kernels::cpu
