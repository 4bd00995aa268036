#include <cmath>
#include <vector>

#include "kernels/reference/kernels.h"

namespace seq1f1b::kernels::reference {
namespace {

// The turns of all pairs of a head at one absolute position. Angles are taken in fp64: at position
// 1e5 an fp32 angle has lost the last three digits of its fraction.
template <class A>
class Turn {
 public:
  Turn(const Rotary& rotary, std::int64_t head_dim)
      : rotary_(rotary),
        head_dim_(head_dim),
        half_(static_cast<std::size_t>(rotary.dimensions / 2)),
        cosine_(half_),
        sine_(half_) {}

  // direction 1 turns forward, -1 back.
  void move_to(std::int64_t position, int direction) {
    for (std::size_t i = 0; i < half_; ++i) {
      const double frequency =
          std::pow(rotary_.base, -2.0 * static_cast<double>(i) / rotary_.dimensions);
      const double angle = static_cast<double>(position) * frequency;
      cosine_[i] = static_cast<A>(std::cos(angle));
      sine_[i] = static_cast<A>(direction * std::sin(angle));
    }
  }

  // Copies one head from `in` to `out` turning its first rotary.dimensions.
  template <class From, class To>
  void head(const From* in, To* out) const {
    for (std::size_t i = 0; i < half_; ++i) {
      const std::size_t first = rotary_.interleaved ? 2 * i : i;
      const std::size_t second = rotary_.interleaved ? 2 * i + 1 : i + half_;
      const auto x0 = static_cast<A>(in[first]), x1 = static_cast<A>(in[second]);
      out[first] = static_cast<To>(x0 * cosine_[i] - x1 * sine_[i]);
      out[second] = static_cast<To>(x0 * sine_[i] + x1 * cosine_[i]);
    }
    for (std::int64_t c = rotary_.dimensions; c < head_dim_; ++c) out[c] = static_cast<To>(in[c]);
  }

 private:
  Rotary rotary_;
  std::int64_t head_dim_;
  std::size_t half_;
  std::vector<A> cosine_, sine_;
};

template <class From, class To>
void copy_head(const From* in, To* out, std::int64_t head_dim) {
  for (std::int64_t c = 0; c < head_dim; ++c) out[c] = static_cast<To>(in[c]);
}

}  // namespace

template <class C, class A>
void Carry<C, A>::project_to(const Tensor& projected, std::int64_t start, const Rotary& rotary,
                             const Tensor& query, const Tensor& key, const Tensor& value) {
  const std::int64_t tokens = query.dim(1), heads = query.dim(2), head_dim = query.dim(3);
  const std::int64_t kv_heads = key.dim(1), capacity = key.dim(2);
  Turn<A> turn(rotary, head_dim);
  const C* in = projected.as<const C>();
  C* q = query.as<C>();
  for (std::int64_t b = 0; b < query.dim(0); ++b) {
    for (std::int64_t i = 0; i < tokens; ++i) {
      turn.move_to(start + i, 1);
      for (std::int64_t h = 0; h < heads; ++h, in += head_dim, q += head_dim) turn.head(in, q);
      const auto row = [&](std::int64_t h) {
        return ((b * kv_heads + h) * capacity + start + i) * head_dim;
      };
      for (std::int64_t h = 0; h < kv_heads; ++h, in += head_dim)
        turn.head(in, key.as<C>() + row(h));
      for (std::int64_t h = 0; h < kv_heads; ++h, in += head_dim)
        copy_head(in, value.as<C>() + row(h), head_dim);
    }
  }
}

// A turn is orthogonal: its transpose is the turn back.
template <class C, class A>
void Carry<C, A>::project_from(const Tensor& grad_query, const Tensor& grad_key,
                               const Tensor& grad_value, std::int64_t start, const Rotary& rotary,
                               const Tensor& grad_projected) {
  const std::int64_t tokens = grad_query.dim(1), heads = grad_query.dim(2),
                     head_dim = grad_query.dim(3);
  const std::int64_t kv_heads = grad_key.dim(1), capacity = grad_key.dim(2);
  Turn<A> turn(rotary, head_dim);
  C* out = grad_projected.as<C>();
  const C* q = grad_query.as<const C>();
  for (std::int64_t b = 0; b < grad_query.dim(0); ++b) {
    for (std::int64_t i = 0; i < tokens; ++i) {
      turn.move_to(start + i, -1);
      for (std::int64_t h = 0; h < heads; ++h, out += head_dim, q += head_dim) turn.head(q, out);
      const auto row = [&](std::int64_t h) {
        return ((b * kv_heads + h) * capacity + start + i) * head_dim;
      };
      for (std::int64_t h = 0; h < kv_heads; ++h, out += head_dim)
        turn.head(grad_key.as<const A>() + row(h), out);
      for (std::int64_t h = 0; h < kv_heads; ++h, out += head_dim)
        copy_head(grad_value.as<const A>() + row(h), out, head_dim);
    }
  }
}

template struct Carry<double, double>;
template struct Carry<float, float>;
template struct Carry<Bf16, float>;

}  // namespace seq1f1b::kernels::reference
