#pragma once
// AdamW over the parameters of one rank. Knows the parameter table, no model.
#include <cstdint>
#include <span>
#include <vector>

#include "core/config/config.h"
#include "core/parameters/store.h"
#include "kernels/device.h"
#include "kernels/ops.h"

namespace seq1f1b::optimizer {

class Optimizer {
 public:
  // Device bytes for norms and step constants.
  static std::size_t scratch_bytes(const parameters::Layout& layout);

  // `scratch`: scratch_bytes of device memory, aligned to 256.
  Optimizer(const config::OptimizerConfig& config, const parameters::Store& store,
            kernels::Backend& backend, std::byte* scratch);

  void zero_gradients();
  // Adds up the accumulators of tensors that are used more than once on this rank, in use order.
  void sum_local_uses();
  // Sum of squares of the gradient of every row that this rank owns, at the row's index in the
  // table; other entries of `squares` (one per row of the table) are left alone.
  void squares(std::span<double> squares);
  // Norm over all tensors, added in canonical order.
  static double global_norm(std::span<const double> squares);
  // One step, 1-based, with gradients clipped to the configured norm.
  void update(std::int64_t step, double learning_rate, double global_norm);

 private:
  config::OptimizerConfig config_;
  const parameters::Store& store_;
  kernels::Backend& backend_;
  double* device_squares_;  // [rows of the layout]
  kernels::AdamwStep* device_step_;
  std::vector<double> host_squares_;
  std::vector<kernels::AdamwTensor> tensors_;
};

}  // namespace seq1f1b::optimizer
