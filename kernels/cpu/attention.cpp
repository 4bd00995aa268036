#include "kernels/cpu/attention.h"

#include <omp.h>

#include <cstdint>

#include "kernels/common/limits.h"
#include "kernels/cpu/attention_tiles.h"
#include "kernels/cpu/dtype.h"

namespace seq1f1b::kernels::cpu {
namespace {

constexpr std::size_t kAlignedFloats = 16;  // 64 bytes: a cache line and the widest vector

// The operands of one call, and the part of them that belongs to a key head of a sequence.
template <class T>
struct Operands {
  Tensor query, key, value, output, log_sum_exp;
  AttentionRange range;
  double scale;
  Tensor grad_output{}, grad_query{}, grad_key{}, grad_value{};  // absent in the forward
  Accumulate mode = Accumulate::kAdd;

  std::int64_t tokens() const { return query.dim(1); }
  std::int64_t head_dim() const { return query.dim(3); }
  std::int64_t kv_heads() const { return key.dim(1); }
  std::int64_t group() const { return query.dim(2) / kv_heads(); }
  std::int64_t heads() const { return query.dim(0) * kv_heads(); }  // units of work

  AttentionHead<T> head(std::int64_t index) const {
    const std::int64_t sequence = index / kv_heads(), kv_head = index % kv_heads();
    const std::int64_t row = query.dim(2) * head_dim();
    const std::int64_t at_query = sequence * tokens() * row + kv_head * group() * head_dim();
    const std::int64_t at_key = index * key.dim(2) * head_dim();
    const auto part = [](const Tensor& tensor, std::int64_t offset) {
      return tensor ? tensor.as<T>() + offset : nullptr;
    };
    const auto accumulated_part = [](const Tensor& tensor, std::int64_t offset) {
      return tensor ? tensor.as<float>() + offset : nullptr;
    };
    AttentionHead<T> result;
    result.tokens = tokens();
    result.group = group();
    result.head_dim = head_dim();
    result.token_stride = row;
    result.query_start = range.query_start;
    result.key_start = range.key_start;
    result.key_length = range.key_length;
    if (range.document_start) result.document_start = range.document_start + sequence * tokens();
    result.scale = static_cast<float>(scale);
    result.query = part(query, at_query);
    result.key = part(key, at_key);
    result.value = part(value, at_key);
    result.output = part(output, at_query);
    result.log_sum_exp = accumulated_part(log_sum_exp, index * group() * tokens());
    result.grad_output = part(grad_output, at_query);
    result.grad_query = part(grad_query, at_query);
    result.grad_key = accumulated_part(grad_key, at_key);
    result.grad_value = accumulated_part(grad_value, at_key);
    result.overwrite = mode == Accumulate::kOverwrite;
    return result;
  }

  // The full checks are the back end's (kernels/common/shape_checks.h); these keep the arithmetic
  // above within its tensors.
  void check() const {
    SEQ1F1B_ASSERT(query.rank == 4 && key.rank == 4 && query.dim(0) == key.dim(0) &&
                       query.dim(3) == key.dim(3) && query.dim(2) % kv_heads() == 0,
                   "query ", describe(query), ", key ", describe(key));
    SEQ1F1B_ASSERT(head_dim() >= 1 && head_dim() <= kMaxHeadDim, "head_dim ", head_dim());
    SEQ1F1B_ASSERT(range.key_length >= 0 && range.key_length <= key.dim(2), "key_length ",
                   range.key_length, ", capacity ", key.dim(2));
    for (const Tensor* tensor : {&query, &key, &value, &output, &grad_output, &grad_query})
      SEQ1F1B_ASSERT(!*tensor || tensor->dtype == kDtypeOf<T>, describe(*tensor), " is not ",
                     dtype_name(kDtypeOf<T>));
    for (const Tensor* tensor : {&log_sum_exp, &grad_key, &grad_value})
      SEQ1F1B_ASSERT(!*tensor || tensor->dtype == Dtype::kF32, describe(*tensor), " is not fp32");
  }
};

}  // namespace

template <class T>
Attention<T>::Attention(int threads, Isa isa)
    : threads_(threads), tiles_(&attention_tiles<T>(isa)) {
  SEQ1F1B_ASSERT(threads >= 1, "threads ", threads);
}

template <class T>
std::size_t Attention<T>::bytes() const {
  return scratch_floats_ * static_cast<std::size_t>(threads_) * sizeof(float);
}

template <class T>
void Attention<T>::prepare(std::int64_t head_dim) {
  const auto floats = static_cast<std::size_t>(tiles_->scratch_floats(head_dim));
  if (floats <= scratch_floats_) return;
  scratch_.reset(new float[floats * static_cast<std::size_t>(threads_) + kAlignedFloats]);
  scratch_floats_ = floats;
}

template <class T>
float* Attention<T>::scratch(int thread) const {
  const auto base = reinterpret_cast<std::uintptr_t>(scratch_.get()) / sizeof(float);
  const std::size_t skip = (kAlignedFloats - base % kAlignedFloats) % kAlignedFloats;
  return scratch_.get() + skip + static_cast<std::size_t>(thread) * scratch_floats_;
}

template <class T>
void Attention<T>::forward(const Tensor& query, const Tensor& key, const Tensor& value,
                           const AttentionRange& range, double scale, const Tensor& output,
                           const Tensor& log_sum_exp) {
  const Operands<T> operands{query, key, value, output, log_sum_exp, range, scale};
  operands.check();
  prepare(operands.head_dim());
  const std::int64_t heads = operands.heads();
  const std::int64_t tiles = (operands.tokens() * operands.group() + kQueryTile - 1) / kQueryTile;
#pragma omp parallel for num_threads(threads_) schedule(dynamic, 1)
  for (std::int64_t index = 0; index < heads * tiles; ++index)  // the last tiles have most keys
    tiles_->forward(operands.head(index % heads), tiles - 1 - index / heads,
                    scratch(omp_get_thread_num()));
}

template <class T>
void Attention<T>::backward(const Tensor& grad_output, const Tensor& query, const Tensor& key,
                            const Tensor& value, const Tensor& output, const Tensor& log_sum_exp,
                            const AttentionRange& range, double scale, const Tensor& grad_query,
                            const Tensor& grad_key, const Tensor& grad_value, Accumulate mode) {
  const Operands<T> operands{query, key,         value,      output,   log_sum_exp, range,
                             scale, grad_output, grad_query, grad_key, grad_value,  mode};
  operands.check();
  prepare(operands.head_dim());
  const std::int64_t heads = operands.heads();
#pragma omp parallel for num_threads(threads_) schedule(dynamic, 1)
  for (std::int64_t index = 0; index < heads; ++index)
    tiles_->backward(operands.head(index), scratch(omp_get_thread_num()));
}

template class Attention<float>;

}  // namespace seq1f1b::kernels::cpu
