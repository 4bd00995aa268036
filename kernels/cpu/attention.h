#pragma once
// Fused softmax attention in fp32 arithmetic, with the semantics of Ops::attention_*
// (kernels/ops.h), for head sizes from 1 to kMaxHeadDim. attention_tiles.inc describes the method.
#include <cstddef>
#include <memory>

#include "kernels/cpu/isa.h"
#include "kernels/ops.h"

namespace seq1f1b::kernels::cpu {

template <class T>
struct AttentionTiles;

// One object per issuing thread; several objects may be used at once. `threads` changes no bit: the
// forward's unit of work is a tile of 64 query rows, the backward's a key head of a sequence. T is
// what compute tensors are stored in: float.
template <class T>
class Attention {
 public:
  // `isa` must be available.
  explicit Attention(int threads, Isa isa = best_isa());

  void forward(const Tensor& query, const Tensor& key, const Tensor& value,
               const AttentionRange& range, double scale, const Tensor& output,
               const Tensor& log_sum_exp);
  void backward(const Tensor& grad_output, const Tensor& query, const Tensor& key,
                const Tensor& value, const Tensor& output, const Tensor& log_sum_exp,
                const AttentionRange& range, double scale, const Tensor& grad_query,
                const Tensor& grad_key, const Tensor& grad_value, Accumulate mode);

  // Scratch held now: about 180 KB per thread for heads of 64, 450 KB for 256. It is allocated by
  // the first call of the largest head size.
  std::size_t bytes() const;

 private:
  float* scratch(int thread) const;
  void prepare(std::int64_t head_dim);

  int threads_;
  const AttentionTiles<T>* tiles_;
  std::size_t scratch_floats_ = 0;  // per thread
  std::unique_ptr<float[]> scratch_;
};

}  // namespace seq1f1b::kernels::cpu
