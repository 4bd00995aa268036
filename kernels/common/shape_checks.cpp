#include "kernels/common/shape_checks.h"

#include "kernels/common/limits.h"

namespace seq1f1b::kernels {
namespace {

// Names the operation in every message.
class Check {
 public:
  explicit Check(const char* operation) : operation_(operation) {}

  // Tensors among the parts are described; nothing is formatted while the condition holds.
  template <class... Parts>
  void require(bool condition, const Parts&... parts) const {
    if (!condition) [[unlikely]]
      throw InternalError(concat(operation_, ": ", shown(parts)...));
  }

  void dtype(const char* name, const Tensor& tensor, Dtype expected) const {
    require(tensor.data != nullptr, name, " is absent");
    require(tensor.dtype == expected, name, " is ", tensor, ", expected ", dtype_name(expected));
  }

  // Exactly this shape.
  void shape(const char* name, const Tensor& tensor, Dtype expected,
             std::initializer_list<std::int64_t> dimensions) const {
    dtype(name, tensor, expected);
    const Tensor wanted(tensor.data, expected, dimensions);
    require(tensor.rank == wanted.rank && tensor.shape == wanted.shape, name, " is ", tensor,
            ", expected ", wanted);
  }

  // Rows of this width, however the rows are shaped.
  void rows(const char* name, const Tensor& tensor, Dtype expected, std::int64_t count,
            std::int64_t width) const {
    dtype(name, tensor, expected);
    require(tensor.rank >= 1 && tensor.dim(tensor.rank - 1) == width &&
                tensor.elements() == count * width,
            name, " is ", tensor, ", expected ", count, " rows of ", width);
  }

  void rank(const char* name, const Tensor& tensor, int expected) const {
    require(tensor.rank == expected, name, " is ", tensor, ", expected ", expected, " dimensions");
  }

  // `output` shares no byte with any of `inputs`.
  void apart(const char* name, const Tensor& output,
             std::initializer_list<const Tensor*> inputs) const {
    for (const Tensor* input : inputs)
      require(!overlap(output, *input), name, " overlaps an input");
  }

  // As `apart`, but the very same tensor is fine.
  void apart_or_same(const char* name, const Tensor& output, const Tensor& input) const {
    require(output.data == input.data || !overlap(output, input), name,
            " partly overlaps an input");
  }

 private:
  static bool overlap(const Tensor& a, const Tensor& b) {
    if (!a || !b) return false;
    const auto* a_begin = a.as<const std::byte>();
    const auto* b_begin = b.as<const std::byte>();
    return a_begin < b_begin + b.bytes() && b_begin < a_begin + a.bytes();
  }

  template <class Part>
  static const Part& shown(const Part& part) {
    return part;
  }
  static std::string shown(const Tensor& tensor) { return describe(tensor); }

  const char* operation_;
};

std::int64_t width_of(const Tensor& tensor) {
  return tensor.rank ? tensor.dim(tensor.rank - 1) : 0;
}
std::int64_t rows_of(const Tensor& tensor) {
  const std::int64_t width = width_of(tensor);
  return width ? tensor.elements() / width : 0;
}

// What split_qkv_rope and split_qkv_rope_backward have in common; `carry` is the dtype of key and
// value.
void check_projection(const Check& check, Dtype compute, Dtype carry, const Tensor& projected,
                      std::int64_t start, const Rotary& rotary, const Tensor& query,
                      const Tensor& key, const Tensor& value) {
  check.rank("query", query, 4);
  check.rank("key", key, 4);
  const std::int64_t micro_batch = query.dim(0), tokens = query.dim(1), heads = query.dim(2),
                     head_dim = query.dim(3), kv_heads = key.dim(1), capacity = key.dim(2);
  check.dtype("query", query, compute);
  check.shape("key", key, carry, {micro_batch, kv_heads, capacity, head_dim});
  check.shape("value", value, carry, {micro_batch, kv_heads, capacity, head_dim});
  check.rows("projected", projected, compute, micro_batch * tokens,
             (heads + 2 * kv_heads) * head_dim);
  check.require(kv_heads > 0 && heads % kv_heads == 0, "heads ", heads,
                " is no multiple of kv_heads ", kv_heads);
  check.require(start >= 0 && start + tokens <= capacity, "rows [", start, ", ", start + tokens,
                ") do not fit a capacity of ", capacity);
  check.require(rotary.dimensions >= 0 && rotary.dimensions % 2 == 0 &&
                    rotary.dimensions <= head_dim && rotary.base > 0,
                "rotary dimensions ", rotary.dimensions, " and base ", rotary.base,
                " do not fit a head_dim of ", head_dim);
}

void check_attention(const Check& check, const Precision& precision, const Tensor& query,
                     const Tensor& key, const Tensor& value, const AttentionRange& range,
                     const Tensor& output, const Tensor& log_sum_exp) {
  check.rank("query", query, 4);
  check.rank("key", key, 4);
  const std::int64_t micro_batch = query.dim(0), tokens = query.dim(1), heads = query.dim(2),
                     head_dim = query.dim(3), kv_heads = key.dim(1), capacity = key.dim(2);
  check.dtype("query", query, precision.compute);
  check.require(head_dim >= 1 && head_dim <= kMaxHeadDim, "head_dim ", head_dim, " is not 1 to ",
                kMaxHeadDim);
  check.shape("key", key, precision.compute, {micro_batch, kv_heads, capacity, head_dim});
  check.shape("value", value, precision.compute, {micro_batch, kv_heads, capacity, head_dim});
  check.shape("output", output, precision.compute, {micro_batch, tokens, heads, head_dim});
  check.shape("log_sum_exp", log_sum_exp, precision.accumulate, {micro_batch, heads, tokens});
  check.require(kv_heads > 0 && heads % kv_heads == 0, "heads ", heads,
                " is no multiple of kv_heads ", kv_heads);
  check.require(range.key_length <= capacity, "key_length ", range.key_length,
                " exceeds the capacity ", capacity);
  check.require(range.key_start >= 0 && range.key_start <= range.query_start &&
                    range.query_start + tokens <= range.key_start + range.key_length,
                "queries [", range.query_start, ", ", range.query_start + tokens,
                ") must see their own positions, keys are [", range.key_start, ", ",
                range.key_start + range.key_length, ")");
}

}  // namespace

void check_fill(const Tensor& output) {
  const Check check("fill");
  check.require(output.data != nullptr, "output is absent");
  check.require(output.dtype == Dtype::kF32 || output.dtype == Dtype::kF64 ||
                    output.dtype == Dtype::kBf16 || output.dtype == Dtype::kI32,
                "output has no known dtype");
}

void check_copy(const Tensor& input, const Tensor& output) {
  const Check check("copy");
  check.require(input.data && output.data, "a tensor is absent");
  check.require(
      input.dtype == output.dtype && input.rank == output.rank && input.shape == output.shape,
      "output is ", output, ", input ", input);
  check.apart("output", output, {&input});
}

void check_cast(const Precision& precision, const Tensor& input, const Tensor& output) {
  const Check check("cast");
  for (const Tensor* tensor : {&input, &output})
    check.require(tensor->dtype == precision.compute || tensor->dtype == precision.accumulate,
                  *tensor, " has neither the compute nor the accumulate type");
  check.require(input.elements() == output.elements(), "input is ", input, ", output ", output);
  check.apart("output", output, {&input});
}

void check_accumulate(const Precision& precision, const Tensor& input, const Tensor& output) {
  const Check check("accumulate");
  check.dtype("input", input, precision.accumulate);
  check.dtype("output", output, precision.accumulate);
  check.require(input.elements() == output.elements(), "output is ", output, ", input ", input);
  check.apart("output", output, {&input});
}

void check_embedding_forward(const Precision& precision, const Tensor& tokens, const Tensor& weight,
                             const Tensor& position_weight, std::int64_t start,
                             const Tensor& output) {
  const Check check("embedding_forward");
  check.dtype("tokens", tokens, Dtype::kI32);
  check.rank("tokens", tokens, 2);
  check.rank("weight", weight, 2);
  const std::int64_t hidden = weight.dim(1);
  check.dtype("weight", weight, precision.compute);
  check.rows("output", output, precision.compute, tokens.elements(), hidden);
  check.apart("output", output, {&weight, &position_weight});
  if (!position_weight) return;
  check.rows("position_weight", position_weight, precision.compute, rows_of(position_weight),
             hidden);
  check.require(start >= 0 && start + tokens.dim(1) <= rows_of(position_weight), "positions [",
                start, ", ", start + tokens.dim(1), ") exceed ", rows_of(position_weight));
}

void check_embedding_backward(const Precision& precision, const Tensor& tokens,
                              const Tensor& grad_output, std::int64_t start,
                              const Tensor& grad_weight, const Tensor& grad_position_weight) {
  const Check check("embedding_backward");
  check.dtype("tokens", tokens, Dtype::kI32);
  check.rank("tokens", tokens, 2);
  check.rank("grad_weight", grad_weight, 2);
  const std::int64_t hidden = grad_weight.dim(1);
  check.dtype("grad_weight", grad_weight, precision.accumulate);
  check.rows("grad_output", grad_output, precision.compute, tokens.elements(), hidden);
  check.apart("grad_weight", grad_weight, {&grad_output, &grad_position_weight});
  if (!grad_position_weight) return;
  const std::int64_t positions = rows_of(grad_position_weight);
  check.rows("grad_position_weight", grad_position_weight, precision.accumulate, positions, hidden);
  check.require(start >= 0 && start + tokens.dim(1) <= positions, "positions [", start, ", ",
                start + tokens.dim(1), ") exceed ", positions);
}

void check_norm(const Precision& precision, NormKind kind, const Tensor& input,
                const Tensor& weight, const Tensor& bias, const Tensor& output,
                const Tensor& statistics) {
  const Check check("norm");
  const std::int64_t width = width_of(input), rows = rows_of(input);
  check.dtype("input", input, precision.compute);
  check.shape("weight", weight, precision.compute, {width});
  if (bias) check.shape("bias", bias, precision.compute, {width});
  check.require(!bias || kind == NormKind::kLayerNorm, "rmsnorm has no bias");
  check.rows("output", output, precision.compute, rows, width);
  check.rows("statistics", statistics, precision.accumulate, rows, 2);
  check.apart("output", output, {&input, &weight, &bias, &statistics});
}

void check_norm_backward(const Precision& precision, NormKind kind, const Tensor& grad_output,
                         const Tensor& input, const Tensor& statistics, const Tensor& weight,
                         const Tensor& grad_residual, const Tensor& grad_input,
                         const Tensor& grad_weight, const Tensor& grad_bias) {
  const Check check("norm_backward");
  const std::int64_t width = width_of(input), rows = rows_of(input);
  check.dtype("input", input, precision.compute);
  check.rows("grad_output", grad_output, precision.compute, rows, width);
  check.rows("statistics", statistics, precision.accumulate, rows, 2);
  check.shape("weight", weight, precision.compute, {width});
  if (grad_residual) check.rows("grad_residual", grad_residual, precision.compute, rows, width);
  check.rows("grad_input", grad_input, precision.compute, rows, width);
  check.shape("grad_weight", grad_weight, precision.accumulate, {width});
  if (grad_bias) check.shape("grad_bias", grad_bias, precision.accumulate, {width});
  check.require(!grad_bias || kind == NormKind::kLayerNorm, "rmsnorm has no bias");
  check.apart("grad_input", grad_input, {&grad_output, &input, &statistics, &weight});
  check.apart_or_same("grad_input", grad_input, grad_residual);
}

void check_linear_forward(const Precision& precision, const Tensor& input, const Tensor& weight,
                          const Tensor& bias, const Tensor& residual, const Tensor& output) {
  const Check check("linear_forward");
  check.rank("weight", weight, 2);
  const std::int64_t out = weight.dim(0), in = weight.dim(1), rows = rows_of(input);
  check.dtype("weight", weight, precision.compute);
  check.rows("input", input, precision.compute, rows, in);
  if (bias) check.shape("bias", bias, precision.compute, {out});
  if (residual) check.rows("residual", residual, precision.compute, rows, out);
  check.rows("output", output, precision.compute, rows, out);
  check.apart("output", output, {&input, &weight, &bias});
  check.apart_or_same("output", output, residual);
}

void check_linear_input_grad(const Precision& precision, const Tensor& grad_output,
                             const Tensor& weight, const Tensor& grad_input) {
  const Check check("linear_input_grad");
  check.rank("weight", weight, 2);
  const std::int64_t out = weight.dim(0), in = weight.dim(1), rows = rows_of(grad_output);
  check.dtype("weight", weight, precision.compute);
  check.rows("grad_output", grad_output, precision.compute, rows, out);
  check.rows("grad_input", grad_input, precision.compute, rows, in);
  check.apart("grad_input", grad_input, {&grad_output, &weight});
}

void check_linear_weight_grad(const Precision& precision, const Tensor& grad_output,
                              const Tensor& input, const Tensor& grad_weight,
                              const Tensor& grad_bias) {
  const Check check("linear_weight_grad");
  check.rank("grad_weight", grad_weight, 2);
  const std::int64_t out = grad_weight.dim(0), in = grad_weight.dim(1), rows = rows_of(input);
  check.dtype("grad_weight", grad_weight, precision.accumulate);
  check.rows("grad_output", grad_output, precision.compute, rows, out);
  check.rows("input", input, precision.compute, rows, in);
  if (grad_bias) check.shape("grad_bias", grad_bias, precision.accumulate, {out});
  check.apart("grad_weight", grad_weight, {&grad_output, &input, &grad_bias});
}

void check_project_to_carry(const Precision& precision, const Tensor& projected, std::int64_t start,
                            const Rotary& rotary, const Tensor& query, const Tensor& key,
                            const Tensor& value) {
  const Check check("split_qkv_rope");
  check_projection(check, precision.compute, precision.compute, projected, start, rotary, query,
                   key, value);
  check.apart("query", query, {&projected, &key, &value});
  check.apart("key", key, {&projected, &value});
  check.apart("value", value, {&projected});
}

void check_project_from_carry(const Precision& precision, const Tensor& grad_query,
                              const Tensor& grad_key, const Tensor& grad_value, std::int64_t start,
                              const Rotary& rotary, const Tensor& grad_projected) {
  const Check check("split_qkv_rope_backward");
  check_projection(check, precision.compute, precision.accumulate, grad_projected, start, rotary,
                   grad_query, grad_key, grad_value);
  check.apart("grad_projected", grad_projected, {&grad_query, &grad_key, &grad_value});
}

void check_attention_forward(const Precision& precision, const Tensor& query, const Tensor& key,
                             const Tensor& value, const AttentionRange& range, const Tensor& output,
                             const Tensor& log_sum_exp) {
  const Check check("attention_forward");
  check_attention(check, precision, query, key, value, range, output, log_sum_exp);
  check.apart("output", output, {&query, &key, &value, &log_sum_exp});
}

void check_attention_backward(const Precision& precision, const Tensor& grad_output,
                              const Tensor& query, const Tensor& key, const Tensor& value,
                              const Tensor& output, const Tensor& log_sum_exp,
                              const AttentionRange& range, const Tensor& grad_query,
                              const Tensor& grad_key, const Tensor& grad_value) {
  const Check check("attention_backward");
  check_attention(check, precision, query, key, value, range, output, log_sum_exp);
  const auto like_query = {query.dim(0), query.dim(1), query.dim(2), query.dim(3)};
  const auto like_key = {key.dim(0), key.dim(1), key.dim(2), key.dim(3)};
  check.shape("grad_output", grad_output, precision.compute, like_query);
  check.shape("grad_query", grad_query, precision.compute, like_query);
  check.shape("grad_key", grad_key, precision.accumulate, like_key);
  check.shape("grad_value", grad_value, precision.accumulate, like_key);
  for (const Tensor* written : {&grad_query, &grad_key, &grad_value})
    check.apart("a gradient", *written,
                {&grad_output, &query, &key, &value, &output, &log_sum_exp});
  check.apart("grad_key", grad_key, {&grad_query, &grad_value});
  check.apart("grad_value", grad_value, {&grad_query});
}

void check_gelu_forward(const Precision& precision, const Tensor& input, const Tensor& output) {
  const Check check("gelu_forward");
  check.dtype("input", input, precision.compute);
  check.rows("output", output, precision.compute, rows_of(input), width_of(input));
  check.apart("output", output, {&input});
}

void check_gelu_backward(const Precision& precision, const Tensor& input, const Tensor& grad_output,
                         const Tensor& grad_input) {
  const Check check("gelu_backward");
  check.dtype("input", input, precision.compute);
  check.rows("grad_output", grad_output, precision.compute, rows_of(input), width_of(input));
  check.rows("grad_input", grad_input, precision.compute, rows_of(input), width_of(input));
  check.apart("grad_input", grad_input, {&input});
  check.apart_or_same("grad_input", grad_input, grad_output);
}

void check_swiglu_forward(const Precision& precision, const Tensor& gate_up, const Tensor& output) {
  const Check check("swiglu_forward");
  check.dtype("output", output, precision.compute);
  check.rows("gate_up", gate_up, precision.compute, rows_of(output), 2 * width_of(output));
  check.apart("output", output, {&gate_up});
}

void check_swiglu_backward(const Precision& precision, const Tensor& gate_up,
                           const Tensor& grad_output, const Tensor& grad_gate_up) {
  const Check check("swiglu_backward");
  const std::int64_t rows = rows_of(grad_output), ffn = width_of(grad_output);
  check.dtype("grad_output", grad_output, precision.compute);
  check.rows("gate_up", gate_up, precision.compute, rows, 2 * ffn);
  check.rows("grad_gate_up", grad_gate_up, precision.compute, rows, 2 * ffn);
  check.apart("grad_gate_up", grad_gate_up, {&gate_up, &grad_output});
}

void check_token_values(const char* operation, const Tensor& tokens, std::int64_t vocab) {
  const Check check(operation);
  const auto* values = tokens.as<const std::int32_t>();
  for (std::int64_t n = 0; n < tokens.elements(); ++n)
    check.require(values[n] >= 0 && values[n] < vocab, "token ", values[n], " at ", n,
                  " is outside the vocabulary of ", vocab);
}

void check_cross_entropy(const Precision& precision, const Tensor& logits, const Tensor& labels,
                         const double* scale, bool write_gradient, const double* loss_sum) {
  const Check check("cross_entropy");
  check.dtype("logits", logits, precision.compute);
  check.dtype("labels", labels, Dtype::kI32);
  check.require(labels.elements() == rows_of(logits), "labels is ", labels, ", logits ", logits);
  check.require(loss_sum && (scale || !write_gradient), "loss_sum or scale is null");
}

void check_label_values(const Tensor& labels, std::int64_t vocab) {
  const Check check("cross_entropy");
  const auto* values = labels.as<const std::int32_t>();
  for (std::int64_t n = 0; n < labels.elements(); ++n)
    check.require(values[n] < vocab, "label ", values[n], " at ", n,
                  " is outside the vocabulary of ", vocab);
}

void check_sum_of_squares(const Precision& precision, const Tensor& input, const double* result) {
  const Check check("sum_of_squares");
  check.dtype("input", input, precision.accumulate);
  check.require(result != nullptr, "result is null");
}

void check_finalize_grad_norm(const Tensor& squares, const double* loss_sum,
                              const AdamWParams* step) {
  const Check check("finalize_grad_norm");
  check.dtype("squares", squares, Dtype::kF64);
  check.require(loss_sum && step, "loss_sum or step is null");
}

void check_adamw(const Precision& precision, std::span<const AdamwTensor> tensors,
                 const AdamWParams* step) {
  const Check check("adamw");
  check.require(step != nullptr, "step is null");
  for (const AdamwTensor& tensor : tensors) {
    const std::int64_t count = tensor.weight.elements();
    check.dtype("weight", tensor.weight, precision.compute);
    check.require(static_cast<bool>(tensor.master) == (precision.compute != precision.accumulate),
                  "master must be present exactly where the weight has another type");
    for (const Tensor* view :
         {&tensor.master, &tensor.gradient, &tensor.first_moment, &tensor.second_moment}) {
      if (view == &tensor.master && !tensor.master) continue;
      check.dtype("a view", *view, precision.accumulate);
      check.require(view->elements() == count, "a view is ", *view, ", weight ", tensor.weight);
    }
  }
}

}  // namespace seq1f1b::kernels
