#include <cstring>
#include <type_traits>

#include "kernels/cpu/kernels.h"

namespace seq1f1b::kernels::cpu {
namespace {

// How one call turns and places heads.
template <class T>
class Rows {
 public:
  Rows(Context<T>& context, const Tensor& query, const Tensor& key, std::int64_t start,
       const Rotary& rotary, float direction)
      : loops_(context.loops),
        rotary_(rotary),
        direction_(direction),
        start_(start),
        tokens_(query.dim(1)),
        head_dim_(query.dim(3)),
        kv_heads_(key.dim(1)),
        capacity_(key.dim(2)),
        table_(rotary.dimensions ? &context.rotary.table(rotary, start + tokens_) : nullptr) {}

  // Copies one head of row (b, i), turning its first dimensions. From is T, or float for the
  // gradients of keys and values.
  template <class From>
  void turn(std::int64_t row, const From* input, T* output) const {
    if (table_) {
      const std::int64_t position = start_ + row % tokens_;
      rotation<From>()(input, table_->cosine(position), table_->sine(position), direction_,
                       rotary_.interleaved, output, rotary_.dimensions / 2);
    }
    move(input + rotary_.dimensions, output + rotary_.dimensions, head_dim_ - rotary_.dimensions);
  }
  template <class From>
  void move(const From* input, T* output, std::int64_t count) const {
    if constexpr (std::is_same_v<From, T>)
      std::memcpy(output, input, static_cast<std::size_t>(count) * sizeof(T));
    else
      loops_.narrow(input, output, count);
  }
  // Where key head h of row (b, i) lies in the carry.
  std::int64_t carry_offset(std::int64_t row, std::int64_t h) const {
    const std::int64_t b = row / tokens_, i = row % tokens_;
    return ((b * kv_heads_ + h) * capacity_ + start_ + i) * head_dim_;
  }

 private:
  template <class From>
  auto rotation() const {
    if constexpr (std::is_same_v<From, T>)
      return loops_.rotate;
    else
      return loops_.rotate_accumulated;
  }

  const RowLoops<T>& loops_;
  Rotary rotary_;
  float direction_;
  std::int64_t start_, tokens_, head_dim_, kv_heads_, capacity_;
  const RotaryTable* table_;
};

}  // namespace

template <class T>
void split_qkv_rope(Context<T>& context, const Tensor& projected, std::int64_t start,
                    const Rotary& rotary, const Tensor& query, const Tensor& key,
                    const Tensor& value) {
  const std::int64_t heads = query.dim(2), head_dim = query.dim(3), kv_heads = key.dim(1);
  const Rows<T> rows(context, query, key, start, rotary, 1.0f);
  context.for_each(query.dim(0) * query.dim(1), projected.elements(), [&](std::int64_t row) {
    const T* in = projected.as<T>() + row * (heads + 2 * kv_heads) * head_dim;
    T* q = query.as<T>() + row * heads * head_dim;
    for (std::int64_t h = 0; h < heads; ++h, in += head_dim, q += head_dim) rows.turn(row, in, q);
    for (std::int64_t h = 0; h < kv_heads; ++h, in += head_dim)
      rows.turn(row, in, key.as<T>() + rows.carry_offset(row, h));
    for (std::int64_t h = 0; h < kv_heads; ++h, in += head_dim)
      rows.move(in, value.as<T>() + rows.carry_offset(row, h), head_dim);
  });
}

// A turn is orthogonal: its transpose is the turn back.
template <class T>
void split_qkv_rope_backward(Context<T>& context, const Tensor& grad_query, const Tensor& grad_key,
                             const Tensor& grad_value, std::int64_t start, const Rotary& rotary,
                             const Tensor& grad_projected) {
  const std::int64_t heads = grad_query.dim(2), head_dim = grad_query.dim(3),
                     kv_heads = grad_key.dim(1);
  const Rows<T> rows(context, grad_query, grad_key, start, rotary, -1.0f);
  context.for_each(grad_query.dim(0) * grad_query.dim(1), grad_projected.elements(),
                   [&](std::int64_t row) {
                     T* out = grad_projected.as<T>() + row * (heads + 2 * kv_heads) * head_dim;
                     const T* q = grad_query.as<T>() + row * heads * head_dim;
                     for (std::int64_t h = 0; h < heads; ++h, out += head_dim, q += head_dim)
                       rows.turn(row, q, out);
                     for (std::int64_t h = 0; h < kv_heads; ++h, out += head_dim)
                       rows.turn(row, grad_key.as<float>() + rows.carry_offset(row, h), out);
                     for (std::int64_t h = 0; h < kv_heads; ++h, out += head_dim)
                       rows.move(grad_value.as<float>() + rows.carry_offset(row, h), out, head_dim);
                   });
}

template void split_qkv_rope(Context<float>&, const Tensor&, std::int64_t, const Rotary&,
                             const Tensor&, const Tensor&, const Tensor&);
template void split_qkv_rope_backward(Context<float>&, const Tensor&, const Tensor&, const Tensor&,
                                      std::int64_t, const Rotary&, const Tensor&);

}  // namespace seq1f1b::kernels::cpu
