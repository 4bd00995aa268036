#pragma once
// One layer's attention over a pair of lengths on this device, forward and backward, to be timed as
// the job will issue it.
#include <cstddef>
#include <cstdint>
#include <span>

#include "core/plan/job_plan.h"
#include "kernels/device.h"
#include "kernels/ops.h"

namespace seq1f1b::runtime {

class AttentionTrial {
 public:
  // `tokens` queries, the last of `key_length` positions. `memory`: on the device, for all operands
  // at once, overwritten; the plan of a stage has a place for each of them in the backward of a
  // unit.
  AttentionTrial(const plan::JobPlan& job, kernels::Backend& backend, std::span<std::byte> memory,
                 std::int64_t tokens, std::int64_t key_length);

  // Noise in what is read: the speed of a GPU depends on the numbers, through its power.
  void fill();
  // Builds the library's part of it. Throws Error where the library does not do it or leaves less
  // than `reserved_bytes` of device memory.
  void prepare(std::size_t reserved_bytes);
  // Issues the work: as a captured graph on a device that has them. The first call of a key does
  // what is done once.
  void run(std::uint64_t key);
  // The same, timed by the device; waits for it.
  double seconds(std::uint64_t key);

 private:
  void fill_with_noise(const kernels::Tensor& tensor);

  kernels::Backend& backend_;
  double scale_;
  kernels::AttentionRange range_;
  kernels::Accumulate mode_ = kernels::Accumulate::kAdd;
  kernels::Tensor query_, output_, grad_output_, grad_query_, log_sum_exp_;
  kernels::Tensor key_, value_, grad_key_, grad_value_;
};

}  // namespace seq1f1b::runtime
