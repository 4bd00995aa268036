#include "kernels/simt/emulated_attention.h"

#include <chrono>
#include <functional>
#include <thread>
#include <vector>

#include "kernels/cuda/check.h"
#include "kernels/device.h"

namespace seq1f1b::simt {
namespace {

using namespace kernels;

class EmulatedAttention final : public cuda::AttentionLibrary {
 public:
  explicit EmulatedAttention(const EmulatedAttentionOptions& options) : options_(options) {}

  void prepare(const cuda::Context&, const Tensor& query, const Tensor&,
               const AttentionRange& range) override {
    if (range.key_length > options_.most_keys)
      throw ConfigError(concat("the emulated library does at most ", options_.most_keys, " keys"));
    if (!options_.log) return;
    const std::scoped_lock lock(options_.log->mutex);
    options_.log->held.insert({query.dim(1), range.key_length});
  }
  void release(const std::function<bool(std::int64_t, std::int64_t)>& kept) override {
    if (!options_.log) return;
    const std::scoped_lock lock(options_.log->mutex);
    std::erase_if(options_.log->held,
                  [&](const auto& length) { return !kept(length.first, length.second); });
  }

  void forward(cuda::Context& context, const Tensor& query, const Tensor& key, const Tensor& value,
               const AttentionRange& range, double scale, const Tensor& output,
               const Tensor& log_sum_exp) override {
    issue(context, range, query.dtype, [=](Ops& ops) {
      ops.attention_forward(query, key, value, range, scale, output, log_sum_exp);
    });
  }
  void backward(cuda::Context& context, const Tensor& grad_output, const Tensor& query,
                const Tensor& key, const Tensor& value, const Tensor& output,
                const Tensor& log_sum_exp, const AttentionRange& range, double scale,
                const Tensor& grad_query, const Tensor& grad_key, const Tensor& grad_value,
                Accumulate mode) override {
    issue(context, range, query.dtype, [=](Ops& ops) {
      ops.attention_backward(grad_output, query, key, value, output, log_sum_exp, range, scale,
                             grad_query, grad_key, grad_value, mode);
    });
  }

 private:
  using Work = std::function<void()>;

  // Records may come back to it as long as the library is there.
  void issue(const cuda::Context& context, const AttentionRange& range, Dtype compute,
             const std::function<void(Ops&)>& call) {
    if (options_.log) {
      ++options_.log->calls;
      options_.log->last_keys = range.key_length;
    }
    work_.push_back(std::make_unique<Work>([call, compute, wait = options_.wait_seconds] {
      call(*make_reference_backend(compute).ops);
      std::this_thread::sleep_for(std::chrono::duration<double>(wait));
    }));
    cuda::check(
        cudaLaunchHostFunc(
            context.stream, [](void* work) { (*static_cast<Work*>(work))(); }, work_.back().get()),
        "calling the emulated library of attention");
  }

  EmulatedAttentionOptions options_;
  std::vector<std::unique_ptr<Work>> work_;
};

}  // namespace

std::unique_ptr<cuda::AttentionLibrary> make_emulated_attention(
    const EmulatedAttentionOptions& options) {
  return std::make_unique<EmulatedAttention>(options);
}

}  // namespace seq1f1b::simt
