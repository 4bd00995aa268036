#pragma once
// The tensors behind a layout: weights, gradients, masters and moments of one rank, carved out of
// memory that the caller planned.
//
// Where weights have a lower precision than the optimizer works in, training keeps a master of each
// in the accumulate type: the master is the parameter, which is initialised, updated and saved, and
// the weight is its rounded copy.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "core/parameters/layout.h"
#include "kernels/device.h"

namespace seq1f1b::parameters {

// What a program needs of the parameters: sampling and evaluation need no gradients.
enum class Purpose : std::uint8_t { kInference, kTraining };

struct StoreBytes {
  std::size_t weights = 0, gradients = 0, masters = 0, moments = 0;
  std::size_t total() const { return weights + gradients + masters + moments; }
};
StoreBytes store_bytes(const Layout& layout, kernels::Dtype compute, kernels::Dtype accumulate,
                       Purpose purpose);

class Store {
 public:
  // `memory`: store_bytes(...).total() bytes of device memory, aligned as tensors are. Contents are
  // undefined until initialised or loaded.
  Store(Layout layout, kernels::Dtype compute, kernels::Dtype accumulate, Purpose purpose,
        std::byte* memory);

  const Layout& layout() const { return layout_; }
  Purpose purpose() const { return purpose_; }

  kernels::Tensor weight(const LocalParameter& row) const;
  bool has_masters() const { return masters_ != nullptr; }
  kernels::Tensor master(const LocalParameter& row) const;  // absent without masters
  // The parameter as exactly as this store has it: its master, else its weight.
  kernels::Tensor parameter(const LocalParameter& row) const;
  // The accumulator of the row's `use`-th local use.
  kernels::Tensor gradient(const LocalParameter& row, std::size_t use = 0) const;
  kernels::Tensor first_moment(const LocalParameter& row) const;
  kernels::Tensor second_moment(const LocalParameter& row) const;

  // `rows` consecutive rows starting with `name` as one operand, concatenated along their first
  // dimension (q, k, v; gate, up). All but the first must be fused with their predecessors.
  kernels::Tensor fused_weight(std::string_view name, int rows) const;
  kernels::Tensor fused_gradient(std::string_view name, int rows) const;

  kernels::Tensor all_gradients() const;  // flat, every accumulator
  kernels::Tensor all_moments() const;    // flat, both
  // Weights become their masters, rounded. Does nothing without masters.
  void round_masters(kernels::Ops& ops) const;

 private:
  kernels::Tensor view(std::byte* base, kernels::Dtype dtype, std::int64_t offset,
                       const ParameterInfo& row) const;
  kernels::Tensor fused(std::byte* base, kernels::Dtype dtype, std::string_view name,
                        int rows) const;

  Layout layout_;
  kernels::Dtype compute_, accumulate_;
  Purpose purpose_;
  std::byte *weights_ = nullptr, *gradients_ = nullptr, *masters_ = nullptr, *moments_ = nullptr;
};

}  // namespace seq1f1b::parameters
