#pragma once
// The tensors behind a layout: weights, gradients, masters and moments of one rank, carved out of
// memory that the caller planned.
//
// Where weights have a lower precision than the optimizer works in, training keeps a master of each
// in the accumulate type: the master is the parameter, which is initialised, updated and saved, and
// the weight is its rounded copy.
#include <cstddef>
#include <cstdint>
#include <optional>
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
// `updated`: the elements that this rank updates, whose masters and moments it holds; a shard of
// the layout, absent the whole of it. Weights and gradients are always whole.
StoreBytes store_bytes(const Layout& layout, kernels::Dtype compute, kernels::Dtype accumulate,
                       Purpose purpose, const std::optional<Range>& updated = {});

class Store {
 public:
  // `memory`: store_bytes(...).total() bytes of device memory, aligned as tensors are. Contents are
  // undefined until initialised or loaded.
  Store(Layout layout, kernels::Dtype compute, kernels::Dtype accumulate, Purpose purpose,
        std::byte* memory, const std::optional<Range>& updated = {});

  const Layout& layout() const { return layout_; }
  Purpose purpose() const { return purpose_; }
  const Range& updated() const { return updated_; }

  // Whole rows. Of masters and moments only those that lie in updated() as a whole.
  kernels::Tensor weight(const LocalParameter& row) const;
  bool has_masters() const { return masters_ != nullptr; }
  kernels::Tensor master(const LocalParameter& row) const;  // absent without masters
  // The parameter as exactly as this store has it: its master, else its weight.
  kernels::Tensor parameter(const LocalParameter& row) const;
  // The accumulator of the row's `use`-th local use.
  kernels::Tensor gradient(const LocalParameter& row, std::size_t use = 0) const;
  kernels::Tensor first_moment(const LocalParameter& row) const;
  kernels::Tensor second_moment(const LocalParameter& row) const;

  // The same of pieces, as they lie in updated(): [count], of a whole row in its own shape.
  kernels::Tensor weight(const Piece& piece) const;
  kernels::Tensor master(const Piece& piece) const;
  kernels::Tensor parameter(const Piece& piece) const;
  kernels::Tensor gradient(const Piece& piece) const;  // of the first local use
  kernels::Tensor first_moment(const Piece& piece) const;
  kernels::Tensor second_moment(const Piece& piece) const;

  // `rows` consecutive rows starting with `name` as one operand, concatenated along their first
  // dimension (q, k, v; gate, up). All but the first must be fused with their predecessors.
  kernels::Tensor fused_weight(std::string_view name, int rows) const;
  kernels::Tensor fused_gradient(std::string_view name, int rows) const;

  kernels::Tensor all_gradients() const;  // flat, every accumulator
  kernels::Tensor all_moments() const;    // flat, both
  // The weights in updated() become their masters, rounded. Does nothing without masters.
  void round_masters(kernels::Ops& ops) const;

 private:
  kernels::Tensor view(std::byte* base, kernels::Dtype dtype, std::int64_t offset,
                       const ParameterInfo& row) const;
  kernels::Tensor view(std::byte* base, kernels::Dtype dtype, std::int64_t offset,
                       const Piece& piece) const;
  // Where an element of the flat layout lies among the masters or in a moment.
  std::int64_t held(std::int64_t element, std::int64_t count) const;
  const LocalParameter& row_of(const Piece& piece) const { return layout_.rows()[piece.row]; }
  kernels::Tensor fused(std::byte* base, kernels::Dtype dtype, std::string_view name,
                        int rows) const;

  Layout layout_;
  kernels::Dtype compute_, accumulate_;
  Purpose purpose_;
  Range updated_;
  std::byte *weights_ = nullptr, *gradients_ = nullptr, *masters_ = nullptr, *moments_ = nullptr;
};

}  // namespace seq1f1b::parameters
