#include "tests/support/replaying.h"

#include <algorithm>

#include "kernels/common/errors.h"
#include "tests/support/forwarding_device.h"

namespace seq1f1b::testing {
namespace {

using kernels::Tensor;

std::string text_of(const Tensor& tensor) {
  std::string text = concat(tensor.data, ":", kernels::dtype_name(tensor.dtype));
  for (int i = 0; i < tensor.rank; ++i) text += concat(i == 0 ? "[" : ",", tensor.dim(i));
  return text;
}
std::string text_of(const kernels::AttentionRange& range) {
  return concat(range.query_start, "+", range.key_start, "+", range.key_length, "@",
                static_cast<const void*>(range.document_start));
}
std::string text_of(const kernels::Rotary& rotary) {
  return concat(rotary.dimensions, rotary.interleaved ? "i" : "h", rotary.base);
}
std::string text_of(kernels::NormKind kind) { return std::to_string(static_cast<int>(kind)); }
std::string text_of(kernels::Accumulate mode) { return std::to_string(static_cast<int>(mode)); }
template <class Plain>
requires(std::is_arithmetic_v<Plain> || std::is_pointer_v<Plain>) std::string text_of(Plain value) {
  return concat(value);
}

class RecordingOps final : public kernels::Ops {
 public:
  RecordingOps(std::unique_ptr<kernels::Ops> inner, std::shared_ptr<ReplayLog> log)
      : inner_(std::move(inner)), log_(std::move(log)) {}

  void fill(const Tensor& output, double value) override {
    call("fill", &Ops::fill, output, value);
  }
  void copy(const Tensor& input, const Tensor& output) override {
    call("copy", &Ops::copy, input, output);
  }
  void cast(const Tensor& input, const Tensor& output) override {
    call("cast", &Ops::cast, input, output);
  }
  void accumulate(const Tensor& input, const Tensor& output) override {
    call("accumulate", &Ops::accumulate, input, output);
  }
  void embedding_forward(const Tensor& tokens, const Tensor& weight, const Tensor& position_weight,
                         std::int64_t start, const Tensor& output) override {
    call("embedding_forward", &Ops::embedding_forward, tokens, weight, position_weight, start,
         output);
  }
  void embedding_backward(const Tensor& tokens, const Tensor& grad_output, std::int64_t start,
                          const Tensor& grad_weight, const Tensor& grad_position_weight) override {
    call("embedding_backward", &Ops::embedding_backward, tokens, grad_output, start, grad_weight,
         grad_position_weight);
  }
  void norm_forward(kernels::NormKind kind, const Tensor& input, const Tensor& weight,
                    const Tensor& bias, double epsilon, const Tensor& output,
                    const Tensor& statistics) override {
    call("norm_forward", &Ops::norm_forward, kind, input, weight, bias, epsilon, output,
         statistics);
  }
  void norm_apply(kernels::NormKind kind, const Tensor& input, const Tensor& statistics,
                  const Tensor& weight, const Tensor& bias, const Tensor& output) override {
    call("norm_apply", &Ops::norm_apply, kind, input, statistics, weight, bias, output);
  }
  void norm_backward(kernels::NormKind kind, const Tensor& grad_output, const Tensor& input,
                     const Tensor& statistics, const Tensor& weight, const Tensor& grad_residual,
                     const Tensor& grad_input, const Tensor& grad_weight,
                     const Tensor& grad_bias) override {
    call("norm_backward", &Ops::norm_backward, kind, grad_output, input, statistics, weight,
         grad_residual, grad_input, grad_weight, grad_bias);
  }
  void linear_forward(const Tensor& input, const Tensor& weight, const Tensor& bias,
                      const Tensor& residual, const Tensor& output) override {
    call("linear_forward", &Ops::linear_forward, input, weight, bias, residual, output);
  }
  void linear_gelu_forward(const Tensor& input, const Tensor& weight, const Tensor& bias,
                           const Tensor& pre_activation, const Tensor& output) override {
    call("linear_gelu_forward", &Ops::linear_gelu_forward, input, weight, bias, pre_activation,
         output);
  }
  void linear_gelu_input_grad(const Tensor& grad_output, const Tensor& weight,
                              const Tensor& pre_activation,
                              const Tensor& grad_pre_activation) override {
    call("linear_gelu_input_grad", &Ops::linear_gelu_input_grad, grad_output, weight,
         pre_activation, grad_pre_activation);
  }
  void linear_input_grad(const Tensor& grad_output, const Tensor& weight,
                         const Tensor& grad_input) override {
    call("linear_input_grad", &Ops::linear_input_grad, grad_output, weight, grad_input);
  }
  void linear_weight_grad(const Tensor& grad_output, const Tensor& input, const Tensor& grad_weight,
                          const Tensor& grad_bias) override {
    call("linear_weight_grad", &Ops::linear_weight_grad, grad_output, input, grad_weight,
         grad_bias);
  }
  void split_qkv_rope(const Tensor& projected, std::int64_t start, const kernels::Rotary& rotary,
                      const Tensor& query, const Tensor& key, const Tensor& value) override {
    call("split_qkv_rope", &Ops::split_qkv_rope, projected, start, rotary, query, key, value);
  }
  void split_qkv_rope_backward(const Tensor& grad_query, const Tensor& grad_key,
                               const Tensor& grad_value, std::int64_t start,
                               const kernels::Rotary& rotary,
                               const Tensor& grad_projected) override {
    call("split_qkv_rope_backward", &Ops::split_qkv_rope_backward, grad_query, grad_key, grad_value,
         start, rotary, grad_projected);
  }
  void attention_forward(const Tensor& query, const Tensor& key, const Tensor& value,
                         const kernels::AttentionRange& range, double scale, const Tensor& output,
                         const Tensor& log_sum_exp) override {
    call("attention_forward", &Ops::attention_forward, query, key, value, range, scale, output,
         log_sum_exp);
  }
  void attention_backward(const Tensor& grad_output, const Tensor& query, const Tensor& key,
                          const Tensor& value, const Tensor& output, const Tensor& log_sum_exp,
                          const kernels::AttentionRange& range, double scale,
                          const Tensor& grad_query, const Tensor& grad_key,
                          const Tensor& grad_value, kernels::Accumulate mode) override {
    call("attention_backward", &Ops::attention_backward, grad_output, query, key, value, output,
         log_sum_exp, range, scale, grad_query, grad_key, grad_value, mode);
  }
  void gelu_forward(const Tensor& input, const Tensor& output) override {
    call("gelu_forward", &Ops::gelu_forward, input, output);
  }
  void gelu_backward(const Tensor& input, const Tensor& grad_output,
                     const Tensor& grad_input) override {
    call("gelu_backward", &Ops::gelu_backward, input, grad_output, grad_input);
  }
  void swiglu_forward(const Tensor& gate_up, const Tensor& output) override {
    call("swiglu_forward", &Ops::swiglu_forward, gate_up, output);
  }
  void swiglu_backward(const Tensor& gate_up, const Tensor& grad_output,
                       const Tensor& grad_gate_up) override {
    call("swiglu_backward", &Ops::swiglu_backward, gate_up, grad_output, grad_gate_up);
  }
  void cross_entropy(const Tensor& logits, const Tensor& labels, const double* scale,
                     bool write_gradient, double* loss_sum) override {
    call("cross_entropy", &Ops::cross_entropy, logits, labels, scale, write_gradient, loss_sum);
  }

  // Of no action: never recorded.
  void prepare_attention(const Tensor& query, const Tensor& key,
                         const kernels::AttentionRange& range) override {
    refuse_capture("prepare_attention");
    inner_->prepare_attention(query, key, range);
  }
  std::string attention_library_refusal() const override {
    return inner_->attention_library_refusal();
  }
  void choose_attention(std::int64_t tokens, std::int64_t key_length,
                        kernels::AttentionProvider provider) override {
    refuse_capture("choose_attention");
    inner_->choose_attention(tokens, key_length, provider);
  }
  void release_unchosen_attention() override {
    refuse_capture("release_unchosen_attention");
    inner_->release_unchosen_attention();
  }
  void sum_of_squares(const Tensor& input, double* result) override {
    refuse_capture("sum_of_squares");
    inner_->sum_of_squares(input, result);
  }
  void finalize_grad_norm(const Tensor& squares, const double* loss_sum, double clip_norm,
                          kernels::AdamWParams* step) override {
    refuse_capture("finalize_grad_norm");
    inner_->finalize_grad_norm(squares, loss_sum, clip_norm, step);
  }
  void adamw(std::span<const kernels::AdamwTensor> tensors,
             const kernels::AdamWParams* step) override {
    refuse_capture("adamw");
    inner_->adamw(tensors, step);
  }
  void use_scratch(std::byte* memory, std::size_t bytes) override {
    refuse_capture("use_scratch");
    inner_->use_scratch(memory, bytes);
  }
  std::size_t library_bytes() const override { return inner_->library_bytes(); }

 private:
  template <class... Parameters, class... Arguments>
  void call(const char* name, void (Ops::*method)(Parameters...), const Arguments&... arguments) {
    if (!log_->recording) return (inner_.get()->*method)(arguments...);
    std::string signature = name;
    ((signature += ' ', signature += text_of(arguments)), ...);
    // By value: what lies behind the pointers may change, the pointers may not.
    log_->recording->push_back({std::move(signature), [inner = inner_.get(), method, arguments...] {
                                  (inner->*method)(arguments...);
                                }});
  }
  void refuse_capture(const char* name) {
    if (log_->inside) log_->complaints.push_back(concat(name, " inside a record"));
  }

  std::unique_ptr<kernels::Ops> inner_;
  std::shared_ptr<ReplayLog> log_;
};

class ReplayingDevice final : public ForwardingDevice {
 public:
  ReplayingDevice(std::unique_ptr<kernels::Device> inner, std::shared_ptr<ReplayLog> log)
      : ForwardingDevice(std::move(inner)), log_(std::move(log)) {}

  void replay(std::uint64_t key, const std::function<void()>& issue) override {
    note("replay");
    if (log_->inside) log_->complaints.push_back("replay inside a record");
    log_->inside = true;
    const auto found = records_.find(key);
    if (found == records_.end()) {
      issue();
      records_[key] = issued_by(issue);
      ++log_->records;
      log_->recorded_calls += records_[key].size();
    } else {
      compare(found->second, issued_by(issue));
      for (const IssuedCall& call : found->second) call.again();
      ++log_->replays;
    }
    log_->inside = false;
  }
  void forget_graphs() override { records_.clear(); }
  Graphs graphs() const override { return {records_.size(), 0}; }

  // Everything else does not belong into a record.
  void* allocate(std::size_t bytes) override {
    note("allocate");
    return ForwardingDevice::allocate(bytes);
  }
  void* allocate_host(std::size_t bytes) override {
    note("allocate_host");
    return ForwardingDevice::allocate_host(bytes);
  }
  void upload(void* device, const void* host, std::size_t bytes) override {
    note("upload");
    ForwardingDevice::upload(device, host, bytes);
  }
  void download(void* host, const void* device, std::size_t bytes) override {
    note("download");
    ForwardingDevice::download(host, device, bytes);
  }
  void download_later(void* host, const void* device, std::size_t bytes) override {
    note("download_later");
    ForwardingDevice::download_later(host, device, bytes);
  }
  void copy(void* to, const void* from, std::size_t bytes) override {
    note("copy");
    ForwardingDevice::copy(to, from, bytes);
  }
  void synchronize() override {
    note("synchronize");
    ForwardingDevice::synchronize();
  }
  std::unique_ptr<kernels::Event> make_event() override {
    note("make_event");
    return ForwardingDevice::make_event();
  }
  void record(kernels::Event& event) override {
    note("record");
    ForwardingDevice::record(event);
  }
  void stamp(int index) override {
    note("stamp");
    ForwardingDevice::stamp(index);
  }

 private:
  std::vector<IssuedCall> issued_by(const std::function<void()>& issue) {
    std::vector<IssuedCall> calls;
    log_->recording = &calls;
    issue();
    log_->recording = nullptr;
    return calls;
  }
  void compare(const std::vector<IssuedCall>& recorded, const std::vector<IssuedCall>& issued) {
    if (recorded.size() != issued.size()) {
      log_->complaints.push_back(
          concat("a record of ", recorded.size(), " calls for ", issued.size()));
      return;
    }
    for (std::size_t i = 0; i < issued.size(); ++i)
      if (recorded[i].signature != issued[i].signature)
        log_->complaints.push_back(
            concat("recorded ", recorded[i].signature, ", issued ", issued[i].signature));
  }
  void note(const char* name) {
    if (log_->tracing) log_->trace.emplace_back(name);
    if (log_->inside) log_->complaints.push_back(concat(name, " inside a record"));
  }

  std::shared_ptr<ReplayLog> log_;
  std::unordered_map<std::uint64_t, std::vector<IssuedCall>> records_;
};

}  // namespace

void make_replaying(kernels::Backend& backend, std::shared_ptr<ReplayLog> log) {
  backend.ops = std::make_unique<RecordingOps>(std::move(backend.ops), log);
  backend.device = std::make_unique<ReplayingDevice>(std::move(backend.device), std::move(log));
}

}  // namespace seq1f1b::testing
