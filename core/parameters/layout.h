#pragma once
// Which rows of the table one rank holds, and where: one flat range of elements shared by weights,
// gradients and moments, so that optimizer and checkpoint work on ranges.
#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "core/parameters/table.h"

namespace seq1f1b::parameters {

// Rows start at multiples of this many elements unless they are fused with the previous one.
inline constexpr std::int64_t kRowAlignment = 64;

struct LocalParameter {
  ParameterInfo info;
  std::size_t table_index = 0;  // position in the canonical order of the whole model
  std::int64_t offset = 0;      // first element, in weights, gradients and moments alike
  std::vector<Use> uses;        // the uses that are on this rank, in the row's order
  // First element of the gradient accumulator of each of `uses`. The first is `offset`; a tied
  // tensor used twice on one rank has a second accumulator behind all rows, so that the sum over
  // uses is formed in the same order as between two ranks.
  std::vector<std::int64_t> gradient_offsets;
  // Holds the row's first use: counts it in the norm and writes it to checkpoints.
  bool owner = false;
};

class Layout {
 public:
  // `is_local` says whether a use is on this rank.
  Layout(const Table& table, const std::function<bool(const Use&)>& is_local);

  std::span<const LocalParameter> rows() const { return rows_; }  // canonical order
  const LocalParameter& find(std::string_view name) const;        // must exist
  std::int64_t elements() const { return elements_; }             // of weights and each moment
  std::int64_t gradient_elements() const { return gradient_elements_; }

 private:
  std::vector<LocalParameter> rows_;
  std::int64_t elements_ = 0, gradient_elements_ = 0;
};

}  // namespace seq1f1b::parameters
