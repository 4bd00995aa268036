#pragma once
// Which rows of the table one rank holds, and where: one flat range of elements shared by weights,
// gradients and moments, so that optimizer, checkpoint and data parallelism work on ranges. Buckets
// cut it for communication, between rows; shards cut it for ownership, anywhere.
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
  // Holds the row's first use. Of the ranks that hold a tied tensor, the one that answers for it.
  bool has_first_use = false;
};

// Consecutive elements of the flat layout.
struct Range {
  std::int64_t first = 0, count = 0;
  std::int64_t end() const { return first + count; }
  friend bool operator==(const Range&, const Range&) = default;
};
// What both have; count is 0 where that is nothing.
Range intersection(const Range& a, const Range& b);

// The elements of one row that lie in a range: consecutive ones of the flattened tensor.
struct Piece {
  std::size_t row = 0;  // in Layout::rows()
  std::int64_t first = 0, count = 0;
  friend bool operator==(const Piece&, const Piece&) = default;
};

// Which of the ranks that hold the same layout: `index` of `count` data-parallel replicas.
struct Replica {
  int index = 0, count = 1;
};

class Layout {
 public:
  // `is_local` says whether a use is on this rank. `shards`: into how many equal ranges the layout
  // is divided; it ends with padding so that it can be.
  Layout(const Table& table, const std::function<bool(const Use&)>& is_local, int shards = 1);

  std::span<const LocalParameter> rows() const { return rows_; }  // canonical order
  const LocalParameter& find(std::string_view name) const;        // must exist
  std::int64_t elements() const { return elements_; }             // of all weights, with padding
  std::int64_t gradient_elements() const { return gradient_elements_; }

  Range whole() const { return {0, elements_}; }
  // The shards are equal, in order, and cover the layout; they begin at multiples of kRowAlignment.
  int shards() const { return shards_; }
  Range shard(int index) const;
  // One for each row that has elements in the range, in order.
  std::vector<Piece> pieces(const Range& range) const;

  // Ranges of whole rows with their padding, each of at least `elements` elements where enough
  // rows are left. Together they cover the layout, from its end to its beginning: the backward
  // completes gradients about in this order. Fused rows are not parted.
  std::vector<Range> buckets(std::int64_t elements) const;

  // Who answers for which elements, of the rows whose first use is here. Over all replicas every
  // element has exactly one answer to each of the two questions. Where there are as many shards as
  // replicas, it is the replica of the shard. Where there is one shard, all replicas have all:
  // replica 0 adds the squares, and the checkpoint's files are dealt out in turn.
  std::vector<Piece> counts_in_norm(const Replica& replica) const;
  std::vector<Piece> writes(const Replica& replica) const;

 private:
  bool is_dealt_in_shards(const Replica& replica) const;
  std::vector<Piece> answered_for(const Range& range) const;

  std::vector<LocalParameter> rows_;
  int shards_ = 1;
  std::int64_t elements_ = 0, gradient_elements_ = 0;
};

}  // namespace seq1f1b::parameters
