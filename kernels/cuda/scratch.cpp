#include "kernels/cuda/scratch.h"

#include <algorithm>

#include "kernels/cuda/attention/scratch_attention.h"
#include "kernels/cuda/linear/scratch_linear.h"
#include "kernels/cuda/scratch_pointwise.h"

namespace seq1f1b::kernels::cuda {
namespace {

// The most that `bytes_of(count)` is for any count up to `most`. Shares get longer where there are
// more rows to share, so that fewer rows may need more scratch; trying all of them is a matter of
// milliseconds, once per program.
template <class Formula>
std::size_t largest_up_to(std::int64_t most, const Formula& bytes_of) {
  std::size_t largest = 0;
  for (std::int64_t count = 1; count <= most; ++count) largest = std::max(largest, bytes_of(count));
  return largest;
}

}  // namespace

std::size_t scratch_bytes(const ScratchShape& shape) {
  const std::int64_t rows = shape.micro_batch * shape.tokens;
  const std::int64_t projected = (shape.heads + 2 * shape.kv_heads) * shape.head_dim;
  std::size_t bytes = std::max(linear_scratch(shape), attention_scratch(shape));
  // Norms run over the rows of a segment, in the head over those of a chunk.
  bytes = std::max(bytes, largest_up_to(std::max(rows, shape.logit_rows), [&](std::int64_t count) {
                     return norm_backward_scratch_bytes(count, shape.hidden);
                   }));
  for (const std::int64_t width : {shape.hidden, shape.ffn_in, projected})
    bytes = std::max(bytes, largest_up_to(rows, [&](std::int64_t count) {
                       return bias_grad_scratch_bytes(count, width);
                     }));
  bytes = std::max(bytes, embedding_backward_scratch_bytes(shape.vocab));
  bytes = std::max(bytes, cross_entropy_scratch_bytes(shape.logit_rows));
  // The most shares that elements are ever cut into, whatever the tensor.
  return std::max(bytes, scratch_piece(8 * kFillingBlocks * std::int64_t{sizeof(double)}));
}

}  // namespace seq1f1b::kernels::cuda
