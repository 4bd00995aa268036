#pragma once
// Fused causal attention in fp32, forward and backward, with the semantics of Ops::attention_*
// (kernels/ops.h). Tiles of queries are shared among threads forward; backward, one thread owns a key
// head of a sequence, so that dK and dV add up in one order whatever the number of threads.
#include <cstddef>
#include <memory>

#include "kernels/cpu/isa.h"
#include "kernels/ops.h"

namespace seq1f1b::kernels::cpu {

class Attention {
 public:
  explicit Attention(int threads, Isa isa = best_isa());

  void forward(const Tensor& query, const Tensor& key, const Tensor& value,
               const AttentionRange& range, double scale, const Tensor& output,
               const Tensor& log_sum_exp);
  void backward(const Tensor& grad_output, const Tensor& query, const Tensor& key,
                const Tensor& value, const Tensor& output, const Tensor& log_sum_exp,
                const AttentionRange& range, double scale, const Tensor& grad_query,
                const Tensor& grad_key, const Tensor& grad_value, Accumulate mode);

  std::size_t bytes() const { return scratch_bytes_ * static_cast<std::size_t>(threads_); }

 private:
  void grow(std::int64_t head_dim);  // scratch for the largest head dimension seen
  float* scratch(int thread) const;

  int threads_;
  Isa isa_;
  std::size_t scratch_bytes_ = 0;  // per thread
  struct Free {
    void operator()(void* memory) const;
  };
  std::unique_ptr<std::byte[], Free> scratch_;
};

}  // namespace seq1f1b::kernels::cpu
