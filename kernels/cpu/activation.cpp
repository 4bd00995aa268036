#include "kernels/cpu/kernels.h"

namespace seq1f1b::kernels::cpu {

void gelu_forward(const Context& context, const Tensor& input, const Tensor& output) {
  context.for_ranges(input.elements(), [&](std::int64_t begin, std::int64_t end) {
    context.loops.gelu_forward(input.as<float>() + begin, output.as<float>() + begin, end - begin);
  });
}

void gelu_backward(const Context& context, const Tensor& input, const Tensor& grad_output,
                   const Tensor& grad_input) {
  context.for_ranges(input.elements(), [&](std::int64_t begin, std::int64_t end) {
    context.loops.gelu_backward(input.as<float>() + begin, grad_output.as<float>() + begin,
                                grad_input.as<float>() + begin, end - begin);
  });
}

void swiglu_forward(const Context& context, const Tensor& gate_up, const Tensor& output) {
  const std::int64_t ffn = output.dim(output.rank - 1), rows = output.elements() / ffn;
  context.for_each(rows, output.elements(), [&](std::int64_t row) {
    const float* gate = gate_up.as<float>() + row * 2 * ffn;
    context.loops.swiglu_forward(gate, gate + ffn, output.as<float>() + row * ffn, ffn);
  });
}

void swiglu_backward(const Context& context, const Tensor& gate_up, const Tensor& grad_output,
                     const Tensor& grad_gate_up) {
  const std::int64_t ffn = grad_output.dim(grad_output.rank - 1);
  const std::int64_t rows = grad_output.elements() / ffn;
  context.for_each(rows, grad_output.elements(), [&](std::int64_t row) {
    const float* gate = gate_up.as<float>() + row * 2 * ffn;
    float* grad_gate = grad_gate_up.as<float>() + row * 2 * ffn;
    context.loops.swiglu_backward(gate, gate + ffn, grad_output.as<float>() + row * ffn, grad_gate,
                                  grad_gate + ffn, ffn);
  });
}

}  // namespace seq1f1b::kernels::cpu
