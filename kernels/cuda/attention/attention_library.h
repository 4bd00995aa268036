#pragma once
// Attention by somebody else's kernels, in the place of attention.h's.
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "kernels/cuda/context.h"
#include "kernels/ops.h"

namespace seq1f1b::kernels::cuda {

class AttentionLibrary {
 public:
  virtual ~AttentionLibrary() = default;
  // Before the first call of these shapes (Ops::prepare_attention). When it throws, shapes prepared
  // earlier can still be computed.
  virtual void prepare(const Context& context, const Tensor& query, const Tensor& key,
                       const AttentionRange& range) = 0;
  // Ops::attention_forward and attention_backward.
  virtual void forward(Context& context, const Tensor& query, const Tensor& key,
                       const Tensor& value, const AttentionRange& range, double scale,
                       const Tensor& output, const Tensor& log_sum_exp) = 0;
  virtual void backward(Context& context, const Tensor& grad_output, const Tensor& query,
                        const Tensor& key, const Tensor& value, const Tensor& output,
                        const Tensor& log_sum_exp, const AttentionRange& range, double scale,
                        const Tensor& grad_query, const Tensor& grad_key, const Tensor& grad_value,
                        Accumulate mode) = 0;
  // Lets go of what is held for lengths that `kept(tokens, key_length)` denies; no captured graph
  // of them is left.
  virtual void release(const std::function<bool(std::int64_t, std::int64_t)>& kept) { (void)kept; }
};

// Whose kernels compute which lengths.
class AttentionProviders {
 public:
  explicit AttentionProviders(AttentionProvider standard) : standard_(standard) {}
  void choose(std::int64_t tokens, std::int64_t key_length, AttentionProvider provider) {
    chosen_[{tokens, key_length}] = provider;
  }
  AttentionProvider of(std::int64_t tokens, std::int64_t key_length) const {
    const auto found = chosen_.find({tokens, key_length});
    return found == chosen_.end() ? standard_ : found->second;
  }

 private:
  AttentionProvider standard_;  // of lengths for which none was chosen
  std::map<std::pair<std::int64_t, std::int64_t>, AttentionProvider> chosen_;
};

// What the operations get of it.
struct AttentionSetup {
  std::unique_ptr<AttentionLibrary> library;
  AttentionProvider standard = AttentionProvider::kOwn;
  std::string refusal = "no library of attention was asked for";  // where `library` is null
};

}  // namespace seq1f1b::kernels::cuda
