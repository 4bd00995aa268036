#include "kernels/reference/reference_ops.h"

#include "kernels/common/host_clip.h"
#include "kernels/common/shape_checks.h"
#include "kernels/reference/kernels.h"

namespace seq1f1b::kernels::reference {
namespace {

template <class T>
class ReferenceOps final : public Ops {
 public:
  void fill(const Tensor& output, double value) override {
    check_fill(output);
    SEQ1F1B_ASSERT(output.dtype == kDtype || output.dtype == Dtype::kI32, "fill of ",
                   dtype_name(output.dtype));
    Movement<T>::fill(output, value);
  }
  void copy(const Tensor& input, const Tensor& output) override {
    check_copy(input, output);
    Movement<T>::copy(input, output);
  }
  void cast(const Tensor& input, const Tensor& output) override {
    check_cast(kPrecision, input, output);
    Movement<T>::cast(input, output);
  }
  void accumulate(const Tensor& input, const Tensor& output) override {
    check_accumulate(kPrecision, input, output);
    Movement<T>::accumulate(input, output);
  }

  void embedding_forward(const Tensor& tokens, const Tensor& weight, const Tensor& position_weight,
                         std::int64_t start, const Tensor& output) override {
    check_embedding_forward(kPrecision, tokens, weight, position_weight, start, output);
    check_token_values("embedding_forward", tokens, weight.dim(0));
    Embedding<T>::forward(tokens, weight, position_weight, start, output);
  }
  void embedding_backward(const Tensor& tokens, const Tensor& grad_output, std::int64_t start,
                          const Tensor& grad_weight, const Tensor& grad_position_weight) override {
    check_embedding_backward(kPrecision, tokens, grad_output, start, grad_weight,
                             grad_position_weight);
    check_token_values("embedding_backward", tokens, grad_weight.dim(0));
    Embedding<T>::backward(tokens, grad_output, start, grad_weight, grad_position_weight);
  }

  void norm_forward(NormKind kind, const Tensor& input, const Tensor& weight, const Tensor& bias,
                    double epsilon, const Tensor& output, const Tensor& statistics) override {
    check_norm(kPrecision, kind, input, weight, bias, output, statistics);
    Norm<T>::forward(kind, input, weight, bias, epsilon, output, statistics);
  }
  void norm_apply(NormKind kind, const Tensor& input, const Tensor& statistics,
                  const Tensor& weight, const Tensor& bias, const Tensor& output) override {
    check_norm(kPrecision, kind, input, weight, bias, output, statistics);
    Norm<T>::apply(kind, input, statistics, weight, bias, output);
  }
  void norm_backward(NormKind kind, const Tensor& grad_output, const Tensor& input,
                     const Tensor& statistics, const Tensor& weight, const Tensor& grad_residual,
                     const Tensor& grad_input, const Tensor& grad_weight,
                     const Tensor& grad_bias) override {
    check_norm_backward(kPrecision, kind, grad_output, input, statistics, weight, grad_residual,
                        grad_input, grad_weight, grad_bias);
    Norm<T>::backward(kind, grad_output, input, statistics, weight, grad_residual, grad_input,
                      grad_weight, grad_bias);
  }

  void linear_forward(const Tensor& input, const Tensor& weight, const Tensor& bias,
                      const Tensor& residual, const Tensor& output) override {
    check_linear_forward(kPrecision, input, weight, bias, residual, output);
    Linear<T>::forward(input, weight, bias, residual, output);
  }
  void linear_input_grad(const Tensor& grad_output, const Tensor& weight,
                         const Tensor& grad_input) override {
    check_linear_input_grad(kPrecision, grad_output, weight, grad_input);
    Linear<T>::input_grad(grad_output, weight, grad_input);
  }
  void linear_weight_grad(const Tensor& grad_output, const Tensor& input, const Tensor& grad_weight,
                          const Tensor& grad_bias) override {
    check_linear_weight_grad(kPrecision, grad_output, input, grad_weight, grad_bias);
    Linear<T>::weight_grad(grad_output, input, grad_weight, grad_bias);
  }

  void project_to_carry(const Tensor& projected, std::int64_t start, const Rotary& rotary,
                        const Tensor& query, const Tensor& key, const Tensor& value) override {
    check_project_to_carry(kPrecision, projected, start, rotary, query, key, value);
    Carry<T>::project_to(projected, start, rotary, query, key, value);
  }
  void project_from_carry(const Tensor& grad_query, const Tensor& grad_key,
                          const Tensor& grad_value, std::int64_t start, const Rotary& rotary,
                          const Tensor& grad_projected) override {
    check_project_from_carry(kPrecision, grad_query, grad_key, grad_value, start, rotary,
                             grad_projected);
    Carry<T>::project_from(grad_query, grad_key, grad_value, start, rotary, grad_projected);
  }
  void attention_forward(const Tensor& query, const Tensor& key, const Tensor& value,
                         const AttentionRange& range, double scale, const Tensor& output,
                         const Tensor& log_sum_exp) override {
    check_attention_forward(kPrecision, query, key, value, range, output, log_sum_exp);
    Attention<T>::forward(query, key, value, range, scale, output, log_sum_exp);
  }
  void attention_backward(const Tensor& grad_output, const Tensor& query, const Tensor& key,
                          const Tensor& value, const Tensor& output, const Tensor& log_sum_exp,
                          const AttentionRange& range, double scale, const Tensor& grad_query,
                          const Tensor& grad_key, const Tensor& grad_value,
                          Accumulate mode) override {
    check_attention_backward(kPrecision, grad_output, query, key, value, output, log_sum_exp, range,
                             grad_query, grad_key, grad_value);
    Attention<T>::backward(grad_output, query, key, value, output, log_sum_exp, range, scale,
                           grad_query, grad_key, grad_value, mode);
  }

  void gelu_forward(const Tensor& input, const Tensor& output) override {
    check_gelu_forward(kPrecision, input, output);
    Activation<T>::gelu_forward(input, output);
  }
  void gelu_backward(const Tensor& input, const Tensor& grad_output,
                     const Tensor& grad_input) override {
    check_gelu_backward(kPrecision, input, grad_output, grad_input);
    Activation<T>::gelu_backward(input, grad_output, grad_input);
  }
  void swiglu_forward(const Tensor& gate_up, const Tensor& output) override {
    check_swiglu_forward(kPrecision, gate_up, output);
    Activation<T>::swiglu_forward(gate_up, output);
  }
  void swiglu_backward(const Tensor& gate_up, const Tensor& grad_output,
                       const Tensor& grad_gate_up) override {
    check_swiglu_backward(kPrecision, gate_up, grad_output, grad_gate_up);
    Activation<T>::swiglu_backward(gate_up, grad_output, grad_gate_up);
  }

  void cross_entropy(const Tensor& logits, const Tensor& labels, const double* scale,
                     bool write_gradient, double* loss_sum) override {
    check_cross_entropy(kPrecision, logits, labels, scale, write_gradient, loss_sum);
    check_label_values(labels, logits.dim(logits.rank - 1));
    CrossEntropy<T>::run(logits, labels, scale, write_gradient, loss_sum);
  }

  void sum_of_squares(const Tensor& input, double* result) override {
    check_sum_of_squares(kPrecision, input, result);
    Optimizer<T>::sum_of_squares(input, result);
  }
  void clip(const Tensor& squares, const double* loss_sum, double clip_norm,
            AdamwStep* step) override {
    check_clip(squares, loss_sum, step);
    host_clip(squares, *loss_sum, clip_norm, *step);
  }
  void adamw(std::span<const AdamwTensor> tensors, const AdamwStep* step) override {
    check_adamw(kPrecision, tensors, step);
    if (step->apply != 0) Optimizer<T>::adamw(tensors, *step);
  }

  std::size_t library_bytes() const override { return 0; }

 private:
  static constexpr Dtype kDtype = sizeof(T) == 8 ? Dtype::kF64 : Dtype::kF32;
  static constexpr Precision kPrecision{kDtype, kDtype};
};

}  // namespace

std::unique_ptr<Ops> make_reference_ops(Dtype dtype) {
  SEQ1F1B_ASSERT(dtype == Dtype::kF32 || dtype == Dtype::kF64, "no reference in ",
                 dtype_name(dtype));
  if (dtype == Dtype::kF32) return std::make_unique<ReferenceOps<float>>();
  return std::make_unique<ReferenceOps<double>>();
}

}  // namespace seq1f1b::kernels::reference
