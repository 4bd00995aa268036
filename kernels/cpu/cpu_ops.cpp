#include "kernels/cpu/cpu_ops.h"

#include "kernels/common/host_grad_norm.h"
#include "kernels/common/shape_checks.h"
#include "kernels/cpu/attention.h"
#include "kernels/cpu/dtype.h"
#include "kernels/cpu/kernels.h"
#include "kernels/cpu/linear.h"

namespace seq1f1b::kernels::cpu {
namespace {

// T is what compute tensors are stored in.
template <class T>
class CpuOps final : public Ops {
 public:
  CpuOps(int threads, Isa isa)
      : context_(threads, isa), linear_(threads, isa), attention_(threads, isa) {}

  void fill(const Tensor& output, double value) override {
    check_fill(output);
    SEQ1F1B_ASSERT(output.dtype == kPrecision.compute || output.dtype == Dtype::kF32 ||
                       output.dtype == Dtype::kI32,
                   "fill of ", dtype_name(output.dtype));
    cpu::fill(context_, output, value);
  }
  void copy(const Tensor& input, const Tensor& output) override {
    check_copy(input, output);
    cpu::copy(context_, input, output);
  }
  void cast(const Tensor& input, const Tensor& output) override {
    check_cast(kPrecision, input, output);
    cpu::cast(context_, input, output);
  }
  void accumulate(const Tensor& input, const Tensor& output) override {
    check_accumulate(kPrecision, input, output);
    cpu::accumulate(context_, input, output);
  }

  void embedding_forward(const Tensor& tokens, const Tensor& weight, const Tensor& position_weight,
                         std::int64_t start, const Tensor& output) override {
    check_embedding_forward(kPrecision, tokens, weight, position_weight, start, output);
    check_token_values("embedding_forward", tokens, weight.dim(0));
    cpu::embedding_forward(context_, tokens, weight, position_weight, start, output);
  }
  void embedding_backward(const Tensor& tokens, const Tensor& grad_output, std::int64_t start,
                          const Tensor& grad_weight, const Tensor& grad_position_weight) override {
    check_embedding_backward(kPrecision, tokens, grad_output, start, grad_weight,
                             grad_position_weight);
    check_token_values("embedding_backward", tokens, grad_weight.dim(0));
    cpu::embedding_backward(context_, tokens, grad_output, start, grad_weight,
                            grad_position_weight);
  }

  void norm_forward(NormKind kind, const Tensor& input, const Tensor& weight, const Tensor& bias,
                    double epsilon, const Tensor& output, const Tensor& statistics) override {
    check_norm(kPrecision, kind, input, weight, bias, output, statistics);
    cpu::norm_forward(context_, kind, input, weight, bias, epsilon, output, statistics);
  }
  void norm_apply(NormKind kind, const Tensor& input, const Tensor& statistics,
                  const Tensor& weight, const Tensor& bias, const Tensor& output) override {
    check_norm(kPrecision, kind, input, weight, bias, output, statistics);
    cpu::norm_apply(context_, input, statistics, weight, bias, output);
  }
  void norm_backward(NormKind kind, const Tensor& grad_output, const Tensor& input,
                     const Tensor& statistics, const Tensor& weight, const Tensor& grad_residual,
                     const Tensor& grad_input, const Tensor& grad_weight,
                     const Tensor& grad_bias) override {
    check_norm_backward(kPrecision, kind, grad_output, input, statistics, weight, grad_residual,
                        grad_input, grad_weight, grad_bias);
    cpu::norm_backward(context_, kind, grad_output, input, statistics, weight, grad_residual,
                       grad_input, grad_weight, grad_bias);
  }

  void linear_forward(const Tensor& input, const Tensor& weight, const Tensor& bias,
                      const Tensor& residual, const Tensor& output) override {
    check_linear_forward(kPrecision, input, weight, bias, residual, output);
    linear_.forward(input, weight, bias, residual, output);
  }
  void linear_input_grad(const Tensor& grad_output, const Tensor& weight,
                         const Tensor& grad_input) override {
    check_linear_input_grad(kPrecision, grad_output, weight, grad_input);
    linear_.input_grad(grad_output, weight, grad_input);
  }
  void linear_weight_grad(const Tensor& grad_output, const Tensor& input, const Tensor& grad_weight,
                          const Tensor& grad_bias) override {
    check_linear_weight_grad(kPrecision, grad_output, input, grad_weight, grad_bias);
    linear_.weight_grad(grad_output, input, grad_weight, grad_bias);
  }

  void split_qkv_rope(const Tensor& projected, std::int64_t start, const Rotary& rotary,
                      const Tensor& query, const Tensor& key, const Tensor& value) override {
    check_project_to_carry(kPrecision, projected, start, rotary, query, key, value);
    cpu::split_qkv_rope(context_, projected, start, rotary, query, key, value);
  }
  void split_qkv_rope_backward(const Tensor& grad_query, const Tensor& grad_key,
                               const Tensor& grad_value, std::int64_t start, const Rotary& rotary,
                               const Tensor& grad_projected) override {
    check_project_from_carry(kPrecision, grad_query, grad_key, grad_value, start, rotary,
                             grad_projected);
    cpu::split_qkv_rope_backward(context_, grad_query, grad_key, grad_value, start, rotary,
                                 grad_projected);
  }
  void attention_forward(const Tensor& query, const Tensor& key, const Tensor& value,
                         const AttentionRange& range, double scale, const Tensor& output,
                         const Tensor& log_sum_exp) override {
    check_attention_forward(kPrecision, query, key, value, range, output, log_sum_exp);
    attention_.forward(query, key, value, range, scale, output, log_sum_exp);
  }
  void attention_backward(const Tensor& grad_output, const Tensor& query, const Tensor& key,
                          const Tensor& value, const Tensor& output, const Tensor& log_sum_exp,
                          const AttentionRange& range, double scale, const Tensor& grad_query,
                          const Tensor& grad_key, const Tensor& grad_value,
                          Accumulate mode) override {
    check_attention_backward(kPrecision, grad_output, query, key, value, output, log_sum_exp, range,
                             grad_query, grad_key, grad_value);
    attention_.backward(grad_output, query, key, value, output, log_sum_exp, range, scale,
                        grad_query, grad_key, grad_value, mode);
  }

  void gelu_forward(const Tensor& input, const Tensor& output) override {
    check_gelu_forward(kPrecision, input, output);
    cpu::gelu_forward(context_, input, output);
  }
  void gelu_backward(const Tensor& input, const Tensor& grad_output,
                     const Tensor& grad_input) override {
    check_gelu_backward(kPrecision, input, grad_output, grad_input);
    cpu::gelu_backward(context_, input, grad_output, grad_input);
  }
  void swiglu_forward(const Tensor& gate_up, const Tensor& output) override {
    check_swiglu_forward(kPrecision, gate_up, output);
    cpu::swiglu_forward(context_, gate_up, output);
  }
  void swiglu_backward(const Tensor& gate_up, const Tensor& grad_output,
                       const Tensor& grad_gate_up) override {
    check_swiglu_backward(kPrecision, gate_up, grad_output, grad_gate_up);
    cpu::swiglu_backward(context_, gate_up, grad_output, grad_gate_up);
  }

  void cross_entropy(const Tensor& logits, const Tensor& labels, const double* scale,
                     bool write_gradient, double* loss_sum) override {
    check_cross_entropy(kPrecision, logits, labels, scale, write_gradient, loss_sum);
    check_label_values(labels, logits.dim(logits.rank - 1));
    cpu::cross_entropy(context_, logits, labels, scale, write_gradient, loss_sum);
  }

  void sum_of_squares(const Tensor& input, double* result) override {
    check_sum_of_squares(kPrecision, input, result);
    cpu::sum_of_squares(context_, input, result);
  }
  void finalize_grad_norm(const Tensor& squares, const double* loss_sum, double clip_norm,
                          AdamWParams* step) override {
    check_finalize_grad_norm(squares, loss_sum, step);
    finalize_grad_norm_on_host(squares, *loss_sum, clip_norm, *step);
  }
  void adamw(std::span<const AdamwTensor> tensors, const AdamWParams* step) override {
    check_adamw(kPrecision, tensors, step);
    if (step->apply != 0) cpu::adamw(context_, tensors, *step);
  }

  std::size_t library_bytes() const override {
    return context_.bytes() + linear_.bytes() + attention_.bytes();
  }

 private:
  static constexpr Precision kPrecision{kDtypeOf<T>, Dtype::kF32};
  Context<T> context_;
  Linear<T> linear_;
  Attention<T> attention_;
};

}  // namespace

std::unique_ptr<Ops> make_cpu_ops(int threads, Isa isa) {
  SEQ1F1B_ASSERT(threads >= 1, "threads ", threads);
  SEQ1F1B_ASSERT(isa_available(isa), isa_name(isa));
  return std::make_unique<CpuOps<float>>(threads, isa);
}

}  // namespace seq1f1b::kernels::cpu
