#pragma once
// The contract of every device operation. One object per in-order queue; work is issued in call
// order.
//
// Common rules
//   * Views are contiguous and row-major. T = micro_batch * tokens is the number of rows of an
//     activation [micro_batch, tokens, hidden]; row (b, i) holds the token at absolute position
//     start + i of sequence b.
//   * "compute" tensors have Backend::compute, "accumulate" tensors Backend::accumulate; a tensor is a
//     compute tensor unless its comment says otherwise. Arithmetic is in the accumulate type.
//   * Inputs and outputs do not overlap unless the comment allows it.
//   * Deterministic: the same inputs give the same bits, whatever the number of threads, and a row's
//     result does not depend on the other rows of the call except where rows are summed. Sums over
//     rows run in a fixed order.
//   * Shapes and dtypes are checked; a violation throws InternalError.
//   * grad_weight, grad_bias, grad_key, grad_value are accumulate tensors and are added to, unless an
//     Accumulate argument says overwrite.
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "kernels/common/errors.h"
#include "kernels/common/tensor.h"

namespace seq1f1b::kernels {

enum class Accumulate : bool { kOverwrite, kAdd };
enum class NormKind : std::uint8_t { kLayerNorm, kRmsNorm };

// Rotary position embedding of the first `dimensions` of every head (0: none): the pair (x0, x1) at
// absolute position p turns by the angle p * base^(-2 i / dimensions), i the pair's number. Pairs
// are (i, i + dimensions/2), or (2i, 2i + 1) when `interleaved`. Source: Su et al., arXiv
// 2104.09864.
struct Rotary {
  int dimensions = 0;
  bool interleaved = false;
  double base = 10000.0;
};

// Who sees whom: the query at row i of a sequence has the absolute position p = query_start + i,
// the key at row j the position key_start + j, for j < key_length. A query sees the keys with
//   document_start[b, i] <= key position <= p
// (document_start: int32 [micro_batch, tokens], non-decreasing along tokens; null: 0 everywhere).
// Every query sees at least its own position. For a segment of METHOD.md: key_start = 0 and
// key_length = query_start + tokens.
struct AttentionRange {
  std::int64_t query_start = 0;
  std::int64_t key_start = 0;
  std::int64_t key_length = 0;
  const std::int32_t* document_start = nullptr;
};

// Whose kernels compute attention.
enum class AttentionProvider : std::uint8_t { kOwn, kLibrary };

// What changes from step to step of the optimizer; lives in device memory. The host writes the
// first group, Ops::finalize_grad_norm the second.
struct AdamWParams {
  double learning_rate = 0;
  double beta1 = 0.9, beta2 = 0.95, epsilon = 1e-8;
  double bias_correction1 = 1, bias_correction2 = 1;  // 1 - beta^step

  double gradient_scale = 1;  // clipping factor
  double gradient_norm = 0;   // before clipping
  double loss_sum = 0;
  double apply = 1;  // 0: loss or norm is not finite, and adamw leaves everything as it is
};

// One parameter tensor, all views of equal element count. `master` is absent where the weight
// itself has the accumulate type.
struct AdamwTensor {
  Tensor weight, master, gradient, first_moment, second_moment;  // all but weight: accumulate
  double weight_decay = 0;
};

class Ops {
 public:
  virtual ~Ops() = default;

  // ---- movement -----------------------------------------------------------------------------
  virtual void fill(const Tensor& output, double value) = 0;
  virtual void copy(const Tensor& input, const Tensor& output) = 0;  // same shape and dtype
  // output = input, rounded to output's dtype, to the nearest even; compute or accumulate each.
  virtual void cast(const Tensor& input, const Tensor& output) = 0;
  // output += input, both accumulate.
  virtual void accumulate(const Tensor& input, const Tensor& output) = 0;

  // ---- embedding ----------------------------------------------------------------------------
  // output[b, i, :] = weight[tokens[b, i], :] (+ position_weight[start + i, :] where present)
  //   tokens int32 [mb, tokens] in device memory; weight [vocab, hidden];
  //   position_weight [positions, hidden] or absent; output [mb, tokens, hidden]
  virtual void embedding_forward(const Tensor& tokens, const Tensor& weight,
                                 const Tensor& position_weight, std::int64_t start,
                                 const Tensor& output) = 0;
  // grad_weight[tokens[b, i], :] += grad_output[b, i, :]; likewise grad_position_weight.
  virtual void embedding_backward(const Tensor& tokens, const Tensor& grad_output,
                                  std::int64_t start, const Tensor& grad_weight,
                                  const Tensor& grad_position_weight) = 0;

  // ---- norms --------------------------------------------------------------------------------
  // layernorm: output = (input - mean) * rstd * weight + bias; rmsnorm: output = input * rstd *
  // weight, with rstd = 1 / sqrt(mean((input - mean)^2) + epsilon), mean = 0 for rmsnorm.
  //   input, output [T, hidden]; weight [hidden]; bias [hidden] or absent (always for rmsnorm);
  //   statistics accumulate [T, 2] = (mean, rstd), written.
  virtual void norm_forward(NormKind kind, const Tensor& input, const Tensor& weight,
                            const Tensor& bias, double epsilon, const Tensor& output,
                            const Tensor& statistics) = 0;
  // The same output from saved statistics: bit-identical to norm_forward's.
  virtual void norm_apply(NormKind kind, const Tensor& input, const Tensor& statistics,
                          const Tensor& weight, const Tensor& bias, const Tensor& output) = 0;
  // grad_input = d loss / d input (+ grad_residual where present; it may be grad_input itself).
  //   grad_weight, grad_bias accumulate [hidden], added to; grad_bias absent as bias is.
  virtual void norm_backward(NormKind kind, const Tensor& grad_output, const Tensor& input,
                             const Tensor& statistics, const Tensor& weight,
                             const Tensor& grad_residual, const Tensor& grad_input,
                             const Tensor& grad_weight, const Tensor& grad_bias) = 0;

  // ---- linear -------------------------------------------------------------------------------
  // output[t, o] = sum_i input[t, i] * weight[o, i] (+ bias[o]) (+ residual[t, o])
  //   input [T, in]; weight [out, in]; bias [out] or absent; residual [T, out] or absent, may be
  //   output itself.
  virtual void linear_forward(const Tensor& input, const Tensor& weight, const Tensor& bias,
                              const Tensor& residual, const Tensor& output) = 0;
  // The same followed by gelu_forward, in one call where a device has one for it:
  //   pre_activation[t, o] = sum_i input[t, i] * weight[o, i] (+ bias[o]); output = gelu(pre_activation)
  virtual void linear_gelu_forward(const Tensor& input, const Tensor& weight, const Tensor& bias,
                                   const Tensor& pre_activation, const Tensor& output) {
    linear_forward(input, weight, bias, {}, pre_activation);
    gelu_forward(pre_activation, output);
  }
  // Its input gradient up to the pre-activation: linear_input_grad through the layer behind the
  // gelu, then gelu_backward.
  //   grad_output [T, out]; weight [out, ffn]; pre_activation, grad_pre_activation [T, ffn]
  virtual void linear_gelu_input_grad(const Tensor& grad_output, const Tensor& weight,
                                      const Tensor& pre_activation,
                                      const Tensor& grad_pre_activation) {
    linear_input_grad(grad_output, weight, grad_pre_activation);
    gelu_backward(pre_activation, grad_pre_activation, grad_pre_activation);
  }
  // grad_input[t, i] = sum_o grad_output[t, o] * weight[o, i]
  virtual void linear_input_grad(const Tensor& grad_output, const Tensor& weight,
                                 const Tensor& grad_input) = 0;
  // grad_weight[o, i] += sum_t grad_output[t, o] * input[t, i]; grad_bias[o] += sum_t
  // grad_output[t, o]
  virtual void linear_weight_grad(const Tensor& grad_output, const Tensor& input,
                                  const Tensor& grad_weight, const Tensor& grad_bias) = 0;

  // ---- attention ----------------------------------------------------------------------------
  // Splits the fused projection, turns q and k at their absolute positions, and writes this
  // segment's rows of the carry.
  //   projected [mb, tokens, (heads + 2 kv_heads) * head_dim]: all q heads, then k, then v;
  //   query [mb, tokens, heads, head_dim]; key, value [mb, kv_heads, capacity, head_dim], rows
  //   [start, start + tokens) written.
  virtual void split_qkv_rope(const Tensor& projected, std::int64_t start, const Rotary& rotary,
                              const Tensor& query, const Tensor& key, const Tensor& value) = 0;
  // Its backward: reads rows [start, start + tokens) of grad_key, grad_value (accumulate, shaped as
  // key), turns them and grad_query back, and writes grad_projected.
  virtual void split_qkv_rope_backward(const Tensor& grad_query, const Tensor& grad_key,
                                       const Tensor& grad_value, std::int64_t start,
                                       const Rotary& rotary, const Tensor& grad_projected) = 0;
  // output = softmax(scale * query key^T + mask) value per head, fused: never tokens x keys in
  // memory. Query head h reads key head h / (heads / kv_heads). head_dim <= kMaxHeadDim
  // (common/limits.h).
  //   query, output [mb, tokens, heads, head_dim]; key, value [mb, kv_heads, capacity, head_dim],
  //   rows < key_length read; log_sum_exp accumulate [mb, heads, tokens], natural logarithm, written.
  virtual void attention_forward(const Tensor& query, const Tensor& key, const Tensor& value,
                                 const AttentionRange& range, double scale, const Tensor& output,
                                 const Tensor& log_sum_exp) = 0;
  // grad_query written; rows < key_length of grad_key, grad_value (accumulate, shaped as key)
  // written (kOverwrite) or added to (kAdd). Other rows are not touched.
  virtual void attention_backward(const Tensor& grad_output, const Tensor& query, const Tensor& key,
                                  const Tensor& value, const Tensor& output,
                                  const Tensor& log_sum_exp, const AttentionRange& range,
                                  double scale, const Tensor& grad_query, const Tensor& grad_key,
                                  const Tensor& grad_value, Accumulate mode) = 0;

  // Some devices have attention twice: their own kernels and a library's. Why this one has no
  // library's; empty: it has.
  virtual std::string attention_library_refusal() const {
    return "this device has one implementation of attention";
  }
  // Whose kernels compute attention of so many tokens over so many keys in calls to come. The bits
  // differ, so that a run chooses once, before its first captured graph (Device::replay). kLibrary
  // only where there is one.
  virtual void choose_attention(std::int64_t tokens, std::int64_t key_length,
                                AttentionProvider provider) {
    (void)tokens;
    (void)key_length;
    SEQ1F1B_ASSERT(provider == AttentionProvider::kOwn, attention_library_refusal());
  }
  // All is chosen: lets go of what the library holds for lengths that are not computed by it.
  virtual void release_unchosen_attention() {}
  // Builds whatever attention of these shapes needs once, which may take seconds: called before the
  // first step for every pair of lengths to come. Issues no work; the views' data are not used.
  // Throws Error where a library does not do these shapes, or there is too little memory for it.
  //   query [mb, tokens, heads, head_dim]; key [mb, kv_heads, capacity, head_dim]
  virtual void prepare_attention(const Tensor& query, const Tensor& key,
                                 const AttentionRange& range) {
    (void)query;
    (void)key;
    (void)range;
  }

  // ---- activations of the feed-forward layer --------------------------------------------------
  // gelu, tanh form: 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))); input, output [T, ffn].
  virtual void gelu_forward(const Tensor& input, const Tensor& output) = 0;
  virtual void gelu_backward(const Tensor& input, const Tensor& grad_output,
                             const Tensor& grad_input) = 0;  // grad_input may be grad_output
  // silu(gate) * up; gate_up [T, 2 ffn]: the gate half first; output [T, ffn].
  virtual void swiglu_forward(const Tensor& gate_up, const Tensor& output) = 0;
  virtual void swiglu_backward(const Tensor& gate_up, const Tensor& grad_output,
                               const Tensor& grad_gate_up) = 0;

  // ---- loss -----------------------------------------------------------------------------------
  // *loss_sum += sum over rows with labels[n] >= 0 of -log softmax(logits[n])[labels[n]], in fp64,
  // in an order that depends on N alone. With write_gradient the logits become their gradient times
  // *scale (zero rows where the label is negative); else they are left in an unspecified state.
  //   logits [N, vocab]; labels int32 [N], device; loss_sum, scale: double, device.
  virtual void cross_entropy(const Tensor& logits, const Tensor& labels, const double* scale,
                             bool write_gradient, double* loss_sum) = 0;

  // ---- optimizer ------------------------------------------------------------------------------
  // *result = sum of squares in fp64, in an order that depends on the element count alone.
  virtual void sum_of_squares(const Tensor& input, double* result) = 0;
  // Ends a step's reduction: step->gradient_norm = sqrt of the sum of `squares` (fp64, 1-D, in
  // order), step->gradient_scale = clip_norm / gradient_norm where clip_norm > 0 and the norm
  // exceeds it, else 1; step->loss_sum = *loss_sum; step->apply = 1 where loss and norm are finite,
  // else 0.
  virtual void finalize_grad_norm(const Tensor& squares, const double* loss_sum, double clip_norm,
                                  AdamWParams* step) = 0;
  // Nothing changes where step->apply is 0. Else, the new weight being also rounded into `weight`
  // where there is a master: decoupled weight decay (Loshchilov & Hutter, arXiv 1711.05101),
  // g = gradient * gradient_scale:
  //   m = b1 m + (1-b1) g; v = b2 v + (1-b2) g^2;
  //   w -= lr * (m / bc1 / (sqrt(v / bc2) + epsilon) + weight_decay * w)
  virtual void adamw(std::span<const AdamwTensor> tensors, const AdamWParams* step) = 0;

  // Scratch for all operations to come, in device memory; what an operation leaves there has no
  // meaning for the next. Back ends that need none ignore it. See cuda/scratch.h for sizes.
  virtual void use_scratch(std::byte* memory, std::size_t bytes) {
    (void)memory;
    (void)bytes;
  }

  // Bytes the library behind this object holds now (scratch, packed copies, generated code if
  // known), in device memory; there it counts whatever else is beside our allocations, too.
  virtual std::size_t library_bytes() const = 0;
};

}  // namespace seq1f1b::kernels
