#pragma once
// Lays tensors out one behind the other. Without memory it only counts, so that what the plan
// promises and what a stage touches come from the same lines of code.
#include <algorithm>
#include <cstddef>
#include <initializer_list>

#include "kernels/common/alignment.h"
#include "kernels/common/precision.h"
#include "kernels/common/tensor.h"

namespace seq1f1b::model {

using kernels::aligned;
using kernels::kTensorAlignment;
using kernels::Precision;  // what a stage computes in

class ArenaLayout {
 public:
  explicit ArenaLayout(std::byte* memory = nullptr) : memory_(memory) {}

  // In counting mode the tensor's data is null; its shape is right.
  kernels::Tensor take(kernels::Dtype dtype, std::initializer_list<std::int64_t> shape) {
    kernels::Tensor tensor(memory_ ? memory_ + used_ : nullptr, dtype, shape);
    used_ += aligned(tensor.bytes());
    return tensor;
  }
  // Raw storage of a size that is a multiple of the alignment.
  std::byte* take_bytes(std::size_t bytes) {
    std::byte* data = memory_ ? memory_ + used_ : nullptr;
    used_ += bytes;
    return data;
  }
  // Alternatives: copy a layout, lay out each alternative with one of the two, then join.
  void extend_to(const ArenaLayout& other) { used_ = std::max(used_, other.used_); }
  std::size_t used() const { return used_; }

 private:
  std::byte* memory_;
  std::size_t used_ = 0;
};

// Rows of one unit: a segment of a micro-batch.
struct SegmentShape {
  std::int64_t batch_size = 1;  // sequences
  std::int64_t start = 0;       // absolute position of the first token
  std::int64_t tokens = 0;      // per sequence
  std::int64_t capacity = 0;    // rows of the carry: seq_length
  std::int64_t rows() const { return batch_size * tokens; }
};

}  // namespace seq1f1b::model
