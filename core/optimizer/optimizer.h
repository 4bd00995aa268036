#pragma once
// AdamW over the parameters that one rank updates (Store::updated), and the end of a step on the
// device: norm, clipping and update are issued one behind the other, and the host learns of their
// outcome by one read-back that nothing waits for. Knows the parameter table, no model.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/config/config.h"
#include "core/parameters/store.h"
#include "kernels/device.h"
#include "kernels/ops.h"

namespace seq1f1b::optimizer {

// The values that all ranks add up at the end of a step, in one fp64 vector: the squares of every
// tensor's gradient in the order of the table, which the rank that counts it
// (Layout::counts_in_norm) fills in and all others leave zero, so that the norm has the same bits
// wherever the stages lie; the loss; and whatever else has to travel.
struct StepSums {
  std::size_t tensors = 0;  // rows of the table, whichever rank holds them
  std::size_t others = 0;
  std::size_t size() const { return tensors + 1 + others; }
};

class Optimizer {
 public:
  // Device bytes for the sums and the step's constants.
  static std::size_t scratch_bytes(const StepSums& sums);

  // `scratch`: scratch_bytes of device memory, aligned as tensors are. `replica`: which one this
  // rank is of those that hold the store's layout; it decides what is counted here, the store what
  // is updated. Before begin_step the gradients of both have to be added up over the replicas.
  Optimizer(const config::OptimizerConfig& config, const parameters::Store& store,
            const StepSums& sums, kernels::Backend& backend, std::byte* scratch,
            const parameters::Replica& replica = {});

  void zero_gradients();
  // Adds up the accumulators of tensors that are used more than once on this rank, in use order.
  void sum_local_uses();

  // The end of step `number`, from 1, in three parts, all issued in queue order. First this rank's
  // share of the sums, from its gradients. loss_sum: device memory; null where the head is not.
  void begin_step(std::int64_t number, double learning_rate, const double* loss_sum,
                  std::span<const double> others);
  // Then the caller adds these up over all ranks: fp64 [sums.size()], device memory.
  kernels::Tensor sums() const;
  // Then norm, clipping and update; nothing is updated where loss or norm is not finite.
  void finish_step();

  // Behind all of it. Once it is done the outcome may be read, until the next finish_step.
  kernels::Event& finished() { return *finished_; }
  const kernels::AdamWParams& outcome() const;
  std::span<const double> others() const;  // added up

  // Between steps: the name of a tensor of this rank, a parameter or a moment of it, that is not
  // finite; empty: none. The outcome tells of loss and gradients, which the update can still turn
  // into what is not finite. Counts squares beyond the range of fp64 as infinite. Waits for the
  // device.
  std::string first_not_finite();

 private:
  double* host() const { return reinterpret_cast<double*>(host_.data()); }
  std::size_t read_back_bytes() const;

  config::OptimizerConfig config_;
  const parameters::Store& store_;
  kernels::Backend& backend_;
  StepSums layout_;
  // Device, and its image in host memory before a step: the sums, then the constants. The tail from
  // the loss on is read back.
  double* device_sums_;
  kernels::AdamWParams* device_step_;
  std::vector<double> image_;
  kernels::HostBuffer host_;  // where the tail arrives
  std::unique_ptr<kernels::Event> finished_;
  std::vector<parameters::Piece> updated_, counted_;
  std::vector<kernels::AdamwTensor> tensors_;  // for each of updated_
};

}  // namespace seq1f1b::optimizer
