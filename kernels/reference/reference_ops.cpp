#include "kernels/reference/reference_ops.h"

#include "kernels/common/host_grad_norm.h"
#include "kernels/common/shape_checks.h"
#include "kernels/reference/kernels.h"

namespace seq1f1b::kernels::reference {
namespace {

template <class T>
constexpr Dtype kDtypeOf = sizeof(T) == 8   ? Dtype::kF64
                           : sizeof(T) == 4 ? Dtype::kF32
                                            : Dtype::kBf16;

template <class C, class A>
class ReferenceOps final : public Ops {
 public:
  void fill(const Tensor& output, double value) override {
    check_fill(output);
    SEQ1F1B_ASSERT(output.dtype == kPrecision.compute || output.dtype == kPrecision.accumulate ||
                       output.dtype == Dtype::kI32,
                   "fill of ", dtype_name(output.dtype));
    Movement<C, A>::fill(output, value);
  }
  void copy(const Tensor& input, const Tensor& output) override {
    check_copy(input, output);
    Movement<C, A>::copy(input, output);
  }
  void cast(const Tensor& input, const Tensor& output) override {
    check_cast(kPrecision, input, output);
    Movement<C, A>::cast(input, output);
  }
  void accumulate(const Tensor& input, const Tensor& output) override {
    check_accumulate(kPrecision, input, output);
    Movement<C, A>::accumulate(input, output);
  }

  void embedding_forward(const Tensor& tokens, const Tensor& weight, const Tensor& position_weight,
                         std::int64_t start, const Tensor& output) override {
    check_embedding_forward(kPrecision, tokens, weight, position_weight, start, output);
    check_token_values("embedding_forward", tokens, weight.dim(0));
    Embedding<C, A>::forward(tokens, weight, position_weight, start, output);
  }
  void embedding_backward(const Tensor& tokens, const Tensor& grad_output, std::int64_t start,
                          const Tensor& grad_weight, const Tensor& grad_position_weight) override {
    check_embedding_backward(kPrecision, tokens, grad_output, start, grad_weight,
                             grad_position_weight);
    check_token_values("embedding_backward", tokens, grad_weight.dim(0));
    Embedding<C, A>::backward(tokens, grad_output, start, grad_weight, grad_position_weight);
  }

  void norm_forward(NormKind kind, const Tensor& input, const Tensor& weight, const Tensor& bias,
                    double epsilon, const Tensor& output, const Tensor& statistics) override {
    check_norm(kPrecision, kind, input, weight, bias, output, statistics);
    Norm<C, A>::forward(kind, input, weight, bias, epsilon, output, statistics);
  }
  void norm_apply(NormKind kind, const Tensor& input, const Tensor& statistics,
                  const Tensor& weight, const Tensor& bias, const Tensor& output) override {
    check_norm(kPrecision, kind, input, weight, bias, output, statistics);
    Norm<C, A>::apply(kind, input, statistics, weight, bias, output);
  }
  void norm_backward(NormKind kind, const Tensor& grad_output, const Tensor& input,
                     const Tensor& statistics, const Tensor& weight, const Tensor& grad_residual,
                     const Tensor& grad_input, const Tensor& grad_weight,
                     const Tensor& grad_bias) override {
    check_norm_backward(kPrecision, kind, grad_output, input, statistics, weight, grad_residual,
                        grad_input, grad_weight, grad_bias);
    Norm<C, A>::backward(kind, grad_output, input, statistics, weight, grad_residual, grad_input,
                         grad_weight, grad_bias);
  }

  void linear_forward(const Tensor& input, const Tensor& weight, const Tensor& bias,
                      const Tensor& residual, const Tensor& output) override {
    check_linear_forward(kPrecision, input, weight, bias, residual, output);
    Linear<C, A>::forward(input, weight, bias, residual, output);
  }
  void linear_input_grad(const Tensor& grad_output, const Tensor& weight,
                         const Tensor& grad_input) override {
    check_linear_input_grad(kPrecision, grad_output, weight, grad_input);
    Linear<C, A>::input_grad(grad_output, weight, grad_input);
  }
  void linear_weight_grad(const Tensor& grad_output, const Tensor& input, const Tensor& grad_weight,
                          const Tensor& grad_bias) override {
    check_linear_weight_grad(kPrecision, grad_output, input, grad_weight, grad_bias);
    Linear<C, A>::weight_grad(grad_output, input, grad_weight, grad_bias);
  }

  void split_qkv_rope(const Tensor& projected, std::int64_t start, const Rotary& rotary,
                      const Tensor& query, const Tensor& key, const Tensor& value) override {
    check_project_to_carry(kPrecision, projected, start, rotary, query, key, value);
    Carry<C, A>::project_to(projected, start, rotary, query, key, value);
  }
  void split_qkv_rope_backward(const Tensor& grad_query, const Tensor& grad_key,
                               const Tensor& grad_value, std::int64_t start, const Rotary& rotary,
                               const Tensor& grad_projected) override {
    check_project_from_carry(kPrecision, grad_query, grad_key, grad_value, start, rotary,
                             grad_projected);
    Carry<C, A>::project_from(grad_query, grad_key, grad_value, start, rotary, grad_projected);
  }
  void attention_forward(const Tensor& query, const Tensor& key, const Tensor& value,
                         const AttentionRange& range, double scale, const Tensor& output,
                         const Tensor& log_sum_exp) override {
    check_attention_forward(kPrecision, query, key, value, range, output, log_sum_exp);
    Attention<C, A>::forward(query, key, value, range, scale, output, log_sum_exp);
  }
  void attention_backward(const Tensor& grad_output, const Tensor& query, const Tensor& key,
                          const Tensor& value, const Tensor& output, const Tensor& log_sum_exp,
                          const AttentionRange& range, double scale, const Tensor& grad_query,
                          const Tensor& grad_key, const Tensor& grad_value,
                          Accumulate mode) override {
    check_attention_backward(kPrecision, grad_output, query, key, value, output, log_sum_exp, range,
                             grad_query, grad_key, grad_value);
    Attention<C, A>::backward(grad_output, query, key, value, output, log_sum_exp, range, scale,
                              grad_query, grad_key, grad_value, mode);
  }

  void gelu_forward(const Tensor& input, const Tensor& output) override {
    check_gelu_forward(kPrecision, input, output);
    Activation<C, A>::gelu_forward(input, output);
  }
  void gelu_backward(const Tensor& input, const Tensor& grad_output,
                     const Tensor& grad_input) override {
    check_gelu_backward(kPrecision, input, grad_output, grad_input);
    Activation<C, A>::gelu_backward(input, grad_output, grad_input);
  }
  void swiglu_forward(const Tensor& gate_up, const Tensor& output) override {
    check_swiglu_forward(kPrecision, gate_up, output);
    Activation<C, A>::swiglu_forward(gate_up, output);
  }
  void swiglu_backward(const Tensor& gate_up, const Tensor& grad_output,
                       const Tensor& grad_gate_up) override {
    check_swiglu_backward(kPrecision, gate_up, grad_output, grad_gate_up);
    Activation<C, A>::swiglu_backward(gate_up, grad_output, grad_gate_up);
  }

  void cross_entropy(const Tensor& logits, const Tensor& labels, const double* scale,
                     bool write_gradient, double* loss_sum) override {
    check_cross_entropy(kPrecision, logits, labels, scale, write_gradient, loss_sum);
    check_label_values(labels, logits.dim(logits.rank - 1));
    CrossEntropy<C, A>::run(logits, labels, scale, write_gradient, loss_sum);
  }

  void sum_of_squares(const Tensor& input, double* result) override {
    check_sum_of_squares(kPrecision, input, result);
    Optimizer<C, A>::sum_of_squares(input, result);
  }
  void finalize_grad_norm(const Tensor& squares, const double* loss_sum, double clip_norm,
                          AdamWParams* step) override {
    check_finalize_grad_norm(squares, loss_sum, step);
    finalize_grad_norm_on_host(squares, *loss_sum, clip_norm, *step);
  }
  void adamw(std::span<const AdamwTensor> tensors, const AdamWParams* step) override {
    check_adamw(kPrecision, tensors, step);
    if (step->apply != 0) Optimizer<C, A>::adamw(tensors, *step);
  }

  std::size_t library_bytes() const override { return 0; }

 private:
  static constexpr Precision kPrecision{kDtypeOf<C>, kDtypeOf<A>};
};

}  // namespace

std::unique_ptr<Ops> make_reference_ops(Dtype compute) {
  switch (compute) {
    case Dtype::kF64:
      return std::make_unique<ReferenceOps<double, double>>();
    case Dtype::kF32:
      return std::make_unique<ReferenceOps<float, float>>();
    case Dtype::kBf16:
      return std::make_unique<ReferenceOps<Bf16, float>>();
    case Dtype::kI32:
      break;
  }
  throw InternalError(concat("no reference in ", dtype_name(compute)));
}

}  // namespace seq1f1b::kernels::reference
