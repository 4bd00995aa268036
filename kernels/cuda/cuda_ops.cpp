#include "kernels/cuda/cuda_ops.h"

#include <utility>

#include "kernels/common/shape_checks.h"
#include "kernels/cuda/attention/attention.h"
#include "kernels/cuda/kernels.h"
#include "kernels/cuda/linear/linear.h"

namespace seq1f1b::kernels::cuda {
namespace {

class CudaOps final : public Ops {
 public:
  CudaOps(const Context& context, Dtype compute, AttentionSetup attention,
          std::function<std::size_t()> library_bytes)
      : precision_{compute, Dtype::kF32},
        context_(context),
        linear_(gemm_tuning(context.architecture)),
        library_(std::move(attention.library)),
        library_refusal_(std::move(attention.refusal)),
        providers_(attention.standard),
        library_bytes_(std::move(library_bytes)) {
    SEQ1F1B_ASSERT(compute == Dtype::kBf16 || compute == Dtype::kF32, "compute in ",
                   dtype_name(compute));
    SEQ1F1B_ASSERT(library_ || attention.standard == AttentionProvider::kOwn, library_refusal_);
  }

  void fill(const Tensor& output, double value) override {
    check_fill(output);
    cuda::fill(begin(), output, value);
  }
  void copy(const Tensor& input, const Tensor& output) override {
    check_copy(input, output);
    cuda::copy(begin(), input, output);
  }
  void cast(const Tensor& input, const Tensor& output) override {
    check_cast(precision_, input, output);
    cuda::cast(begin(), input, output);
  }
  void accumulate(const Tensor& input, const Tensor& output) override {
    check_accumulate(precision_, input, output);
    cuda::accumulate(begin(), input, output);
  }

  void embedding_forward(const Tensor& tokens, const Tensor& weight, const Tensor& position_weight,
                         std::int64_t start, const Tensor& output) override {
    check_embedding_forward(precision_, tokens, weight, position_weight, start, output);
    cuda::embedding_forward(begin(), tokens, weight, position_weight, start, output);
  }
  void embedding_backward(const Tensor& tokens, const Tensor& grad_output, std::int64_t start,
                          const Tensor& grad_weight, const Tensor& grad_position_weight) override {
    check_embedding_backward(precision_, tokens, grad_output, start, grad_weight,
                             grad_position_weight);
    cuda::embedding_backward(begin(), tokens, grad_output, start, grad_weight,
                             grad_position_weight);
  }

  void norm_forward(NormKind kind, const Tensor& input, const Tensor& weight, const Tensor& bias,
                    double epsilon, const Tensor& output, const Tensor& statistics) override {
    check_norm(precision_, kind, input, weight, bias, output, statistics);
    cuda::norm_forward(begin(), kind, input, weight, bias, epsilon, output, statistics);
  }
  void norm_apply(NormKind kind, const Tensor& input, const Tensor& statistics,
                  const Tensor& weight, const Tensor& bias, const Tensor& output) override {
    check_norm(precision_, kind, input, weight, bias, output, statistics);
    cuda::norm_apply(begin(), kind, input, statistics, weight, bias, output);
  }
  void norm_backward(NormKind kind, const Tensor& grad_output, const Tensor& input,
                     const Tensor& statistics, const Tensor& weight, const Tensor& grad_residual,
                     const Tensor& grad_input, const Tensor& grad_weight,
                     const Tensor& grad_bias) override {
    check_norm_backward(precision_, kind, grad_output, input, statistics, weight, grad_residual,
                        grad_input, grad_weight, grad_bias);
    cuda::norm_backward(begin(), kind, grad_output, input, statistics, weight, grad_residual,
                        grad_input, grad_weight, grad_bias);
  }

  void linear_forward(const Tensor& input, const Tensor& weight, const Tensor& bias,
                      const Tensor& residual, const Tensor& output) override {
    check_linear_forward(precision_, input, weight, bias, residual, output);
    linear_.forward(begin(), input, weight, bias, residual, output);
  }
  void linear_input_grad(const Tensor& grad_output, const Tensor& weight,
                         const Tensor& grad_input) override {
    check_linear_input_grad(precision_, grad_output, weight, grad_input);
    linear_.input_grad(begin(), grad_output, weight, grad_input);
  }
  void linear_weight_grad(const Tensor& grad_output, const Tensor& input, const Tensor& grad_weight,
                          const Tensor& grad_bias) override {
    check_linear_weight_grad(precision_, grad_output, input, grad_weight, grad_bias);
    linear_.weight_grad(begin(), grad_output, input, grad_weight, grad_bias);
  }

  void linear_gelu_forward(const Tensor& input, const Tensor& weight, const Tensor& bias,
                           const Tensor& pre_activation, const Tensor& output) override {
    check_linear_forward(precision_, input, weight, bias, {}, pre_activation);
    check_gelu_forward(precision_, pre_activation, output);
    linear_.gelu_forward(begin(), input, weight, bias, pre_activation, output);
  }
  void linear_gelu_input_grad(const Tensor& grad_output, const Tensor& weight,
                              const Tensor& pre_activation,
                              const Tensor& grad_pre_activation) override {
    check_linear_input_grad(precision_, grad_output, weight, grad_pre_activation);
    check_gelu_backward(precision_, pre_activation, grad_pre_activation, grad_pre_activation);
    linear_.gelu_input_grad(begin(), grad_output, weight, pre_activation, grad_pre_activation);
  }

  void split_qkv_rope(const Tensor& projected, std::int64_t start, const Rotary& rotary,
                      const Tensor& query, const Tensor& key, const Tensor& value) override {
    check_project_to_carry(precision_, projected, start, rotary, query, key, value);
    cuda::split_qkv_rope(begin(), projected, start, rotary, query, key, value);
  }
  void split_qkv_rope_backward(const Tensor& grad_query, const Tensor& grad_key,
                               const Tensor& grad_value, std::int64_t start, const Rotary& rotary,
                               const Tensor& grad_projected) override {
    check_project_from_carry(precision_, grad_query, grad_key, grad_value, start, rotary,
                             grad_projected);
    cuda::split_qkv_rope_backward(begin(), grad_query, grad_key, grad_value, start, rotary,
                                  grad_projected);
  }
  void attention_forward(const Tensor& query, const Tensor& key, const Tensor& value,
                         const AttentionRange& range, double scale, const Tensor& output,
                         const Tensor& log_sum_exp) override {
    check_attention_forward(precision_, query, key, value, range, output, log_sum_exp);
    if (by_library(query, range))
      return library_->forward(begin(), query, key, value, range, scale, output, log_sum_exp);
    cuda::attention_forward(begin(), query, key, value, range, scale, output, log_sum_exp);
  }
  void attention_backward(const Tensor& grad_output, const Tensor& query, const Tensor& key,
                          const Tensor& value, const Tensor& output, const Tensor& log_sum_exp,
                          const AttentionRange& range, double scale, const Tensor& grad_query,
                          const Tensor& grad_key, const Tensor& grad_value,
                          Accumulate mode) override {
    check_attention_backward(precision_, grad_output, query, key, value, output, log_sum_exp, range,
                             grad_query, grad_key, grad_value);
    if (by_library(query, range))
      return library_->backward(begin(), grad_output, query, key, value, output, log_sum_exp, range,
                                scale, grad_query, grad_key, grad_value, mode);
    cuda::attention_backward(begin(), grad_output, query, key, value, output, log_sum_exp, range,
                             scale, grad_query, grad_key, grad_value, mode);
  }
  std::string attention_library_refusal() const override {
    return library_ ? "" : library_refusal_;
  }
  void choose_attention(std::int64_t tokens, std::int64_t key_length,
                        AttentionProvider provider) override {
    SEQ1F1B_ASSERT(library_ || provider == AttentionProvider::kOwn, library_refusal_);
    providers_.choose(tokens, key_length, provider);
  }
  void release_unchosen_attention() override {
    if (!library_) return;
    library_->release([&](std::int64_t tokens, std::int64_t key_length) {
      return providers_.of(tokens, key_length) == AttentionProvider::kLibrary;
    });
  }
  void prepare_attention(const Tensor& query, const Tensor& key,
                         const AttentionRange& range) override {
    if (by_library(query, range)) library_->prepare(context_, query, key, range);
  }

  void gelu_forward(const Tensor& input, const Tensor& output) override {
    check_gelu_forward(precision_, input, output);
    cuda::gelu_forward(begin(), input, output);
  }
  void gelu_backward(const Tensor& input, const Tensor& grad_output,
                     const Tensor& grad_input) override {
    check_gelu_backward(precision_, input, grad_output, grad_input);
    cuda::gelu_backward(begin(), input, grad_output, grad_input);
  }
  void swiglu_forward(const Tensor& gate_up, const Tensor& output) override {
    check_swiglu_forward(precision_, gate_up, output);
    cuda::swiglu_forward(begin(), gate_up, output);
  }
  void swiglu_backward(const Tensor& gate_up, const Tensor& grad_output,
                       const Tensor& grad_gate_up) override {
    check_swiglu_backward(precision_, gate_up, grad_output, grad_gate_up);
    cuda::swiglu_backward(begin(), gate_up, grad_output, grad_gate_up);
  }

  void cross_entropy(const Tensor& logits, const Tensor& labels, const double* scale,
                     bool write_gradient, double* loss_sum) override {
    check_cross_entropy(precision_, logits, labels, scale, write_gradient, loss_sum);
    cuda::cross_entropy(begin(), logits, labels, scale, write_gradient, loss_sum);
  }

  void sum_of_squares(const Tensor& input, double* result) override {
    check_sum_of_squares(precision_, input, result);
    cuda::sum_of_squares(begin(), input, result);
  }
  void finalize_grad_norm(const Tensor& squares, const double* loss_sum, double clip_norm,
                          AdamWParams* step) override {
    check_finalize_grad_norm(squares, loss_sum, step);
    cuda::finalize_grad_norm(begin(), squares, loss_sum, clip_norm, step);
  }
  void adamw(std::span<const AdamwTensor> tensors, const AdamWParams* step) override {
    check_adamw(precision_, tensors, step);
    cuda::adamw(begin(), tensors, step);
  }

  void use_scratch(std::byte* memory, std::size_t bytes) override {
    SEQ1F1B_ASSERT(reinterpret_cast<std::uintptr_t>(memory) % 256 == 0, "scratch is not aligned");
    context_.scratch = Scratch(memory, bytes);
  }
  std::size_t library_bytes() const override { return library_bytes_ ? library_bytes_() : 0; }

 private:
  // Every operation starts with all of the scratch.
  Context& begin() {
    context_.scratch.reset();
    return context_;
  }
  bool by_library(const Tensor& query, const AttentionRange& range) const {
    return providers_.of(query.dim(1), range.key_length) == AttentionProvider::kLibrary;
  }

  Precision precision_;
  Context context_;
  Linear linear_;
  std::unique_ptr<AttentionLibrary> library_;  // null: our own kernels alone
  std::string library_refusal_;
  AttentionProviders providers_;
  std::function<std::size_t()> library_bytes_;
};

}  // namespace

std::unique_ptr<Ops> make_cuda_ops(const Context& context, Dtype compute, AttentionSetup attention,
                                   std::function<std::size_t()> library_bytes) {
  return std::make_unique<CudaOps>(context, compute, std::move(attention),
                                   std::move(library_bytes));
}

}  // namespace seq1f1b::kernels::cuda
