#include <cmath>
#include <vector>

#include "kernels/reference/kernels.h"

namespace seq1f1b::kernels::reference {
namespace {

// The turns of all pairs of a head at one absolute position. Angles are taken in fp64: at position
// 1e5 an fp32 angle has lost the last three digits of its fraction.
template <class T>
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
      cosine_[i] = static_cast<T>(std::cos(angle));
      sine_[i] = static_cast<T>(direction * std::sin(angle));
    }
  }

  // Copies one head from `in` to `out` turning its first rotary.dimensions.
  void head(const T* in, T* out) const {
    for (std::size_t i = 0; i < half_; ++i) {
      const std::size_t first = rotary_.interleaved ? 2 * i : i;
      const std::size_t second = rotary_.interleaved ? 2 * i + 1 : i + half_;
      const T x0 = in[first], x1 = in[second];
      out[first] = x0 * cosine_[i] - x1 * sine_[i];
      out[second] = x0 * sine_[i] + x1 * cosine_[i];
    }
    for (std::int64_t c = rotary_.dimensions; c < head_dim_; ++c) out[c] = in[c];
  }

 private:
  Rotary rotary_;
  std::int64_t head_dim_;
  std::size_t half_;
  std::vector<T> cosine_, sine_;
};

template <class T>
void copy_head(const T* in, T* out, std::int64_t head_dim) {
  for (std::int64_t c = 0; c < head_dim; ++c) out[c] = in[c];
}

}  // namespace

template <class T>
void Carry<T>::project_to(const Tensor& projected, std::int64_t start, const Rotary& rotary,
                          const Tensor& query, const Tensor& key, const Tensor& value) {
  const std::int64_t tokens = query.dim(1), heads = query.dim(2), head_dim = query.dim(3);
  const std::int64_t kv_heads = key.dim(1), capacity = key.dim(2);
  Turn<T> turn(rotary, head_dim);
  const T* in = projected.as<const T>();
  T* q = query.as<T>();
  for (std::int64_t b = 0; b < query.dim(0); ++b) {
    for (std::int64_t i = 0; i < tokens; ++i) {
      turn.move_to(start + i, 1);
      for (std::int64_t h = 0; h < heads; ++h, in += head_dim, q += head_dim) turn.head(in, q);
      const auto row = [&](std::int64_t h) {
        return ((b * kv_heads + h) * capacity + start + i) * head_dim;
      };
      for (std::int64_t h = 0; h < kv_heads; ++h, in += head_dim)
        turn.head(in, key.as<T>() + row(h));
      for (std::int64_t h = 0; h < kv_heads; ++h, in += head_dim)
        copy_head(in, value.as<T>() + row(h), head_dim);
    }
  }
}

// A turn is orthogonal: its transpose is the turn back.
template <class T>
void Carry<T>::project_from(const Tensor& grad_query, const Tensor& grad_key,
                            const Tensor& grad_value, std::int64_t start, const Rotary& rotary,
                            const Tensor& grad_projected) {
  const std::int64_t tokens = grad_query.dim(1), heads = grad_query.dim(2),
                     head_dim = grad_query.dim(3);
  const std::int64_t kv_heads = grad_key.dim(1), capacity = grad_key.dim(2);
  Turn<T> turn(rotary, head_dim);
  T* out = grad_projected.as<T>();
  const T* q = grad_query.as<const T>();
  for (std::int64_t b = 0; b < grad_query.dim(0); ++b) {
    for (std::int64_t i = 0; i < tokens; ++i) {
      turn.move_to(start + i, -1);
      for (std::int64_t h = 0; h < heads; ++h, out += head_dim, q += head_dim) turn.head(q, out);
      const auto row = [&](std::int64_t h) {
        return ((b * kv_heads + h) * capacity + start + i) * head_dim;
      };
      for (std::int64_t h = 0; h < kv_heads; ++h, out += head_dim)
        turn.head(grad_key.as<const T>() + row(h), out);
      for (std::int64_t h = 0; h < kv_heads; ++h, out += head_dim)
        copy_head(grad_value.as<const T>() + row(h), out, head_dim);
    }
  }
}

template struct Carry<float>;
template struct Carry<double>;

}  // namespace seq1f1b::kernels::reference
