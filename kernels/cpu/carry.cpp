#include <cstring>

#include "kernels/cpu/kernels.h"

namespace seq1f1b::kernels::cpu {
namespace {

// How one call turns and places heads.
class Rows {
 public:
  Rows(Context& context, const Tensor& query, const Tensor& key, std::int64_t start,
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

  // Copies one head of row (b, i), turning its first dimensions.
  void turn(std::int64_t row, const float* input, float* output) const {
    if (table_) {
      const std::int64_t position = start_ + row % tokens_;
      loops_.rotate(input, table_->cosine(position), table_->sine(position), direction_,
                    rotary_.interleaved, output, rotary_.dimensions / 2);
    }
    move(input + rotary_.dimensions, output + rotary_.dimensions, head_dim_ - rotary_.dimensions);
  }
  void move(const float* input, float* output, std::int64_t count) const {
    std::memcpy(output, input, static_cast<std::size_t>(count) * sizeof(float));
  }
  // Where key head h of row (b, i) lies in the carry.
  std::int64_t carry_offset(std::int64_t row, std::int64_t h) const {
    const std::int64_t b = row / tokens_, i = row % tokens_;
    return ((b * kv_heads_ + h) * capacity_ + start_ + i) * head_dim_;
  }

 private:
  const RowLoops& loops_;
  Rotary rotary_;
  float direction_;
  std::int64_t start_, tokens_, head_dim_, kv_heads_, capacity_;
  const RotaryTable* table_;
};

}  // namespace

void split_qkv_rope(Context& context, const Tensor& projected, std::int64_t start,
                    const Rotary& rotary, const Tensor& query, const Tensor& key,
                    const Tensor& value) {
  const std::int64_t heads = query.dim(2), head_dim = query.dim(3), kv_heads = key.dim(1);
  const Rows rows(context, query, key, start, rotary, 1.0f);
  context.for_each(query.dim(0) * query.dim(1), projected.elements(), [&](std::int64_t row) {
    const float* in = projected.as<float>() + row * (heads + 2 * kv_heads) * head_dim;
    float* q = query.as<float>() + row * heads * head_dim;
    for (std::int64_t h = 0; h < heads; ++h, in += head_dim, q += head_dim) rows.turn(row, in, q);
    for (std::int64_t h = 0; h < kv_heads; ++h, in += head_dim)
      rows.turn(row, in, key.as<float>() + rows.carry_offset(row, h));
    for (std::int64_t h = 0; h < kv_heads; ++h, in += head_dim)
      rows.move(in, value.as<float>() + rows.carry_offset(row, h), head_dim);
  });
}

// A turn is orthogonal: its transpose is the turn back.
void split_qkv_rope_backward(Context& context, const Tensor& grad_query, const Tensor& grad_key,
                             const Tensor& grad_value, std::int64_t start, const Rotary& rotary,
                             const Tensor& grad_projected) {
  const std::int64_t heads = grad_query.dim(2), head_dim = grad_query.dim(3),
                     kv_heads = grad_key.dim(1);
  const Rows rows(context, grad_query, grad_key, start, rotary, -1.0f);
  context.for_each(
      grad_query.dim(0) * grad_query.dim(1), grad_projected.elements(), [&](std::int64_t row) {
        float* out = grad_projected.as<float>() + row * (heads + 2 * kv_heads) * head_dim;
        const float* q = grad_query.as<float>() + row * heads * head_dim;
        for (std::int64_t h = 0; h < heads; ++h, out += head_dim, q += head_dim)
          rows.turn(row, q, out);
        for (std::int64_t h = 0; h < kv_heads; ++h, out += head_dim)
          rows.turn(row, grad_key.as<float>() + rows.carry_offset(row, h), out);
        for (std::int64_t h = 0; h < kv_heads; ++h, out += head_dim)
          rows.move(grad_value.as<float>() + rows.carry_offset(row, h), out, head_dim);
      });
}

}  // namespace seq1f1b::kernels::cpu
