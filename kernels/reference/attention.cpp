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

template <class C, class A>
void Attention<C, A>::forward(const Tensor& query, const Tensor& key, const Tensor& value,
                              const AttentionRange& range, double scale, const Tensor& output,
                              const Tensor& log_sum_exp) {
  const Extents at(query, key, range);
  const std::int64_t d = at.head_dim;
  std::vector<A> score(static_cast<std::size_t>(range.key_length));
  std::vector<A> sums(static_cast<std::size_t>(d));
  for (std::int64_t b = 0; b < at.micro_batch; ++b) {
    for (std::int64_t i = 0; i < at.tokens; ++i) {
      for (std::int64_t h = 0; h < at.heads; ++h) {
        const C* q = query.as<const C>() + at.query_offset(b, i, h);
        const C* k = key.as<const C>() + at.key_offset(b, h);
        const C* v = value.as<const C>() + at.key_offset(b, h);
        const std::int64_t first = at.first_key(b, i), count = at.last_key(i) - first;
        SEQ1F1B_ASSERT(count > 0, "query ", i, " of sequence ", b, " sees no key");
        A* s = score.data();
        for (std::int64_t j = 0; j < count; ++j)
          s[j] = static_cast<A>(scale) * dot<A>(q, k + (first + j) * d, d);
        const A highest = *std::max_element(s, s + count);
        A sum = 0;
        for (std::int64_t j = 0; j < count; ++j) sum += s[j] = std::exp(s[j] - highest);
        std::fill(sums.begin(), sums.end(), A{0});
        for (std::int64_t j = 0; j < count; ++j)
          add_scaled(s[j], v + (first + j) * d, sums.data(), d);
        for (A& value_sum : sums) value_sum /= sum;
        round_row(sums.data(), output.as<C>() + at.query_offset(b, i, h), d);
        log_sum_exp.as<A>()[at.statistic_offset(b, i, h)] = highest + std::log(sum);
      }
    }
  }
}

// With p_j the softmax and delta = grad_output . output = sum_j p_j (grad_output . v_j):
//   d score_j = p_j (grad_output . v_j - delta), grad_value_j += p_j grad_output,
//   grad_query += scale d score_j k_j, grad_key_j += scale d score_j q.
template <class C, class A>
void Attention<C, A>::backward(const Tensor& grad_output, const Tensor& query, const Tensor& key,
                               const Tensor& value, const Tensor& output, const Tensor& log_sum_exp,
                               const AttentionRange& range, double scale, const Tensor& grad_query,
                               const Tensor& grad_key, const Tensor& grad_value, Accumulate mode) {
  const Extents at(query, key, range);
  const std::int64_t d = at.head_dim;
  std::vector<A> query_sums(static_cast<std::size_t>(d));
  if (mode == Accumulate::kOverwrite) {
    for (std::int64_t slab = 0; slab < at.micro_batch * at.kv_heads; ++slab) {
      std::fill_n(grad_key.as<A>() + slab * at.capacity * d, range.key_length * d, A{0});
      std::fill_n(grad_value.as<A>() + slab * at.capacity * d, range.key_length * d, A{0});
    }
  }
  for (std::int64_t b = 0; b < at.micro_batch; ++b) {
    for (std::int64_t i = 0; i < at.tokens; ++i) {
      for (std::int64_t h = 0; h < at.heads; ++h) {
        const C* go = grad_output.as<const C>() + at.query_offset(b, i, h);
        const C* q = query.as<const C>() + at.query_offset(b, i, h);
        const C* k = key.as<const C>() + at.key_offset(b, h);
        const C* v = value.as<const C>() + at.key_offset(b, h);
        A* gk = grad_key.as<A>() + at.key_offset(b, h);
        A* gv = grad_value.as<A>() + at.key_offset(b, h);
        const A statistic = log_sum_exp.as<const A>()[at.statistic_offset(b, i, h)];
        const A delta = dot<A>(go, output.as<const C>() + at.query_offset(b, i, h), d);
        std::fill(query_sums.begin(), query_sums.end(), A{0});
        for (std::int64_t j = at.first_key(b, i); j < at.last_key(i); ++j) {
          const A p = std::exp(static_cast<A>(scale) * dot<A>(q, k + j * d, d) - statistic);
          const A grad_score = p * (dot<A>(go, v + j * d, d) - delta) * static_cast<A>(scale);
          add_scaled(grad_score, k + j * d, query_sums.data(), d);
          add_scaled(grad_score, q, gk + j * d, d);
          add_scaled(p, go, gv + j * d, d);
        }
        round_row(query_sums.data(), grad_query.as<C>() + at.query_offset(b, i, h), d);
      }
    }
  }
}

template struct Attention<double, double>;
template struct Attention<float, float>;
template struct Attention<Bf16, float>;

}  // namespace seq1f1b::kernels::reference
