// Which kernel takes a problem of attention. In order: Hopper's (but for a forward of few queries
// and many keys: prefer_sm90_forward), those of compute capability 8.0 (both bf16), and the general
// ones, which take everything.
#include "kernels/cuda/attention/attention.h"

#include <limits>

#include "kernels/common/limits.h"
#include "kernels/cuda/attention/attention_choice.h"
#include "kernels/cuda/attention/attention_sm90.h"

namespace seq1f1b::kernels::cuda {
namespace {

int narrow(std::int64_t value, const char* what) {
  SEQ1F1B_ASSERT(value >= 0 && value <= std::numeric_limits<int>::max(), what, " ", value);
  return static_cast<int>(value);
}

bool use_sm90(const Context& context) { return kUseSm90 && context.architecture == 90; }

}  // namespace

AttentionShape attention_shape(const Tensor& query, const Tensor& key, const AttentionRange& range,
                               double scale) {
  AttentionShape shape;
  shape.micro_batch = narrow(query.dim(0), "micro_batch");
  shape.tokens = narrow(query.dim(1), "tokens");
  shape.heads = narrow(query.dim(2), "heads");
  shape.kv_heads = narrow(key.dim(1), "kv_heads");
  shape.head_dim = narrow(query.dim(3), "head_dim");
  shape.capacity = narrow(key.dim(2), "capacity");
  shape.query_start = narrow(range.query_start, "query_start");
  shape.key_start = narrow(range.key_start, "key_start");
  shape.key_length = narrow(range.key_length, "key_length");
  shape.document_start = range.document_start;
  shape.scale = static_cast<float>(scale);
  SEQ1F1B_ASSERT(shape.head_dim <= kMaxHeadDim, "head_dim ", shape.head_dim);
  return shape;
}

void attention_forward(Context& context, const Tensor& query, const Tensor& key,
                       const Tensor& value, const AttentionRange& range, double scale,
                       const Tensor& output, const Tensor& log_sum_exp) {
  const AttentionForward operands{attention_shape(query, key, range, scale),
                                  query.data,
                                  key.data,
                                  value.data,
                                  output.data,
                                  log_sum_exp.as<float>()};
  if (query.elements() == 0) return;
  if (query.dtype == Dtype::kBf16) {
    if (use_sm90(context) && prefer_sm90_forward(operands.shape, context.multiprocessors) &&
        attention_sm90_forward(context, operands))
      return;
    if (attention_sm80_forward(context, operands)) return;
  }
  attention_general_forward(context, operands, query.dtype);
}

void attention_backward(Context& context, const Tensor& grad_output, const Tensor& query,
                        const Tensor& key, const Tensor& value, const Tensor& output,
                        const Tensor& log_sum_exp, const AttentionRange& range, double scale,
                        const Tensor& grad_query, const Tensor& grad_key, const Tensor& grad_value,
                        Accumulate mode) {
  const AttentionBackward operands{attention_shape(query, key, range, scale),
                                   grad_output.data,
                                   query.data,
                                   key.data,
                                   value.data,
                                   output.data,
                                   log_sum_exp.as<float>(),
                                   grad_query.data,
                                   grad_key.as<float>(),
                                   grad_value.as<float>(),
                                   mode == Accumulate::kAdd};
  if (query.elements() == 0) return;
  if (query.dtype == Dtype::kBf16) {
    if (use_sm90(context) && attention_sm90_backward(context, operands)) return;
    if (attention_sm80_backward(context, operands)) return;
  }
  attention_general_backward(context, operands, query.dtype);
}

}  // namespace seq1f1b::kernels::cuda
