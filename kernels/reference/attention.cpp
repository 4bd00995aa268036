#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/reference/dot.h"
#include "kernels/reference/kernels.h"

namespace seq1f1b::kernels::reference {
namespace {

// The extents of one call and the visible keys of a query.
struct Extents {
  std::int64_t micro_batch, tokens, heads, head_dim, kv_heads, capacity;
  AttentionRange range;

  Extents(const Tensor& query, const Tensor& key, const AttentionRange& r)
      : micro_batch(query.dim(0)),
        tokens(query.dim(1)),
        heads(query.dim(2)),
        head_dim(query.dim(3)),
        kv_heads(key.dim(1)),
        capacity(key.dim(2)),
        range(r) {}

  std::int64_t query_offset(std::int64_t b, std::int64_t i, std::int64_t h) const {
    return ((b * tokens + i) * heads + h) * head_dim;
  }
  std::int64_t statistic_offset(std::int64_t b, std::int64_t i, std::int64_t h) const {
    return (b * heads + h) * tokens + i;
  }
  std::int64_t key_offset(std::int64_t b, std::int64_t h) const {
    return (b * kv_heads + h / (heads / kv_heads)) * capacity * head_dim;
  }
  // Rows [first, last) of the key buffer that query i of sequence b sees.
  std::int64_t first_key(std::int64_t b, std::int64_t i) const {
    const std::int64_t document =
        range.document_start ? range.document_start[b * tokens + i] : std::int64_t{0};
    return std::max<std::int64_t>(document - range.key_start, 0);
  }
  std::int64_t last_key(std::int64_t i) const {
    return std::min(range.query_start + i + 1 - range.key_start, range.key_length);
  }
};

}  // namespace

template <class T>
void Attention<T>::forward(const Tensor& query, const Tensor& key, const Tensor& value,
                           const AttentionRange& range, double scale, const Tensor& output,
                           const Tensor& log_sum_exp) {
  const Extents at(query, key, range);
  const std::int64_t d = at.head_dim;
  std::vector<T> score(static_cast<std::size_t>(range.key_length));
  for (std::int64_t b = 0; b < at.micro_batch; ++b) {
    for (std::int64_t i = 0; i < at.tokens; ++i) {
      for (std::int64_t h = 0; h < at.heads; ++h) {
        const T* q = query.as<const T>() + at.query_offset(b, i, h);
        const T* k = key.as<const T>() + at.key_offset(b, h);
        const T* v = value.as<const T>() + at.key_offset(b, h);
        T* out = output.as<T>() + at.query_offset(b, i, h);
        const std::int64_t first = at.first_key(b, i), count = at.last_key(i) - first;
        SEQ1F1B_ASSERT(count > 0, "query ", i, " of sequence ", b, " sees no key");
        T* s = score.data();
        for (std::int64_t j = 0; j < count; ++j)
          s[j] = static_cast<T>(scale) * dot(q, k + (first + j) * d, d);
        const T highest = *std::max_element(s, s + count);
        T sum = 0;
        for (std::int64_t j = 0; j < count; ++j) sum += s[j] = std::exp(s[j] - highest);
        for (std::int64_t c = 0; c < d; ++c) out[c] = 0;
        for (std::int64_t j = 0; j < count; ++j) add_scaled(s[j], v + (first + j) * d, out, d);
        for (std::int64_t c = 0; c < d; ++c) out[c] /= sum;
        log_sum_exp.as<T>()[at.statistic_offset(b, i, h)] = highest + std::log(sum);
      }
    }
  }
}

// With p_j the softmax and delta = grad_output . output = sum_j p_j (grad_output . v_j):
//   d score_j = p_j (grad_output . v_j - delta), grad_value_j += p_j grad_output,
//   grad_query += scale d score_j k_j, grad_key_j += scale d score_j q.
template <class T>
void Attention<T>::backward(const Tensor& grad_output, const Tensor& query, const Tensor& key,
                            const Tensor& value, const Tensor& output, const Tensor& log_sum_exp,
                            const AttentionRange& range, double scale, const Tensor& grad_query,
                            const Tensor& grad_key, const Tensor& grad_value, Accumulate mode) {
  const Extents at(query, key, range);
  const std::int64_t d = at.head_dim;
  if (mode == Accumulate::kOverwrite) {
    for (std::int64_t slab = 0; slab < at.micro_batch * at.kv_heads; ++slab) {
      std::fill_n(grad_key.as<T>() + slab * at.capacity * d, range.key_length * d, T{0});
      std::fill_n(grad_value.as<T>() + slab * at.capacity * d, range.key_length * d, T{0});
    }
  }
  for (std::int64_t b = 0; b < at.micro_batch; ++b) {
    for (std::int64_t i = 0; i < at.tokens; ++i) {
      for (std::int64_t h = 0; h < at.heads; ++h) {
        const T* go = grad_output.as<const T>() + at.query_offset(b, i, h);
        const T* q = query.as<const T>() + at.query_offset(b, i, h);
        const T* k = key.as<const T>() + at.key_offset(b, h);
        const T* v = value.as<const T>() + at.key_offset(b, h);
        T* gq = grad_query.as<T>() + at.query_offset(b, i, h);
        T* gk = grad_key.as<T>() + at.key_offset(b, h);
        T* gv = grad_value.as<T>() + at.key_offset(b, h);
        const T statistic = log_sum_exp.as<const T>()[at.statistic_offset(b, i, h)];
        const T delta = dot(go, output.as<const T>() + at.query_offset(b, i, h), d);
        for (std::int64_t c = 0; c < d; ++c) gq[c] = 0;
        for (std::int64_t j = at.first_key(b, i); j < at.last_key(i); ++j) {
          const T p = std::exp(static_cast<T>(scale) * dot(q, k + j * d, d) - statistic);
          const T grad_score = p * (dot(go, v + j * d, d) - delta) * static_cast<T>(scale);
          add_scaled(grad_score, k + j * d, gq, d);
          add_scaled(grad_score, q, gk + j * d, d);
          add_scaled(p, go, gv + j * d, d);
        }
      }
    }
  }
}

template struct Attention<float>;
template struct Attention<double>;

}  // namespace seq1f1b::kernels::reference
