#include "core/parameters/layout.h"

#include <algorithm>

#include "kernels/common/errors.h"

namespace seq1f1b::parameters {
namespace {

std::int64_t aligned(std::int64_t elements, std::int64_t to = kRowAlignment) {
  return (elements + to - 1) / to * to;
}

}  // namespace

Range intersection(const Range& a, const Range& b) {
  const std::int64_t first = std::max(a.first, b.first);
  return {first, std::max<std::int64_t>(0, std::min(a.end(), b.end()) - first)};
}

Layout::Layout(const Table& table, const std::function<bool(const Use&)>& is_local, int shards)
    : shards_(shards) {
  SEQ1F1B_ASSERT(shards >= 1, shards, " shards");
  std::int64_t next = 0;
  for (std::size_t index = 0; index < table.size(); ++index) {
    const ParameterInfo& row = table[index];
    LocalParameter local;
    local.info = row;
    local.table_index = index;
    for (const Use& use : row.uses)
      if (is_local(use)) local.uses.push_back(use);
    if (local.uses.empty()) continue;
    local.offset = row.fused_with_previous ? next : aligned(next);
    local.has_first_use = local.uses.front() == row.uses.front();
    next = local.offset + row.elements();
    rows_.push_back(std::move(local));
  }
  elements_ = gradient_elements_ = aligned(next, kRowAlignment * shards);
  for (LocalParameter& local : rows_) {
    local.gradient_offsets.push_back(local.offset);
    for (std::size_t use = 1; use < local.uses.size(); ++use) {
      local.gradient_offsets.push_back(gradient_elements_);
      gradient_elements_ += aligned(local.info.elements());
    }
  }
}

const LocalParameter& Layout::find(std::string_view name) const {
  for (const LocalParameter& local : rows_)
    if (local.info.name == name) return local;
  throw InternalError(concat("parameter '", name, "' is not on this rank"));
}

Range Layout::shard(int index) const {
  SEQ1F1B_ASSERT(index >= 0 && index < shards_, "shard ", index, " of ", shards_);
  const std::int64_t count = elements_ / shards_;
  return {index * count, count};
}

std::vector<Piece> Layout::pieces(const Range& range) const {
  std::vector<Piece> pieces;
  for (std::size_t i = 0; i < rows_.size(); ++i) {
    const Range both = intersection(range, {rows_[i].offset, rows_[i].info.elements()});
    if (both.count > 0) pieces.push_back({i, both.first - rows_[i].offset, both.count});
  }
  return pieces;
}

std::vector<Range> Layout::buckets(std::int64_t elements) const {
  SEQ1F1B_ASSERT(elements > 0, "buckets of ", elements, " elements");
  std::vector<Range> buckets;
  std::int64_t end = elements_;
  for (auto row = rows_.rbegin(); row != rows_.rend(); ++row) {
    if (row->offset > 0 && (row->info.fused_with_previous || end - row->offset < elements))
      continue;
    buckets.push_back({row->offset, end - row->offset});
    end = row->offset;
  }
  return buckets;
}

std::vector<Piece> Layout::answered_for(const Range& range) const {
  std::vector<Piece> found = pieces(range);
  std::erase_if(found, [&](const Piece& piece) { return !rows_[piece.row].has_first_use; });
  return found;
}

// Whether every replica answers for a shard of its own; else there is one shard, and all have it.
bool Layout::is_dealt_in_shards(const Replica& replica) const {
  SEQ1F1B_ASSERT(replica.index >= 0 && replica.index < replica.count, "replica ", replica.index,
                 " of ", replica.count);
  SEQ1F1B_ASSERT(shards_ == replica.count || shards_ == 1 || replica.count == 1, shards_,
                 " shards, ", replica.count, " replicas");
  return shards_ == replica.count;
}

std::vector<Piece> Layout::counts_in_norm(const Replica& replica) const {
  if (is_dealt_in_shards(replica)) return answered_for(shard(replica.index));
  return replica.index == 0 ? answered_for(whole()) : std::vector<Piece>();
}

std::vector<Piece> Layout::writes(const Replica& replica) const {
  if (is_dealt_in_shards(replica)) return answered_for(shard(replica.index));
  std::vector<Piece> written;
  std::string_view file;
  int turn = -1;
  for (const Piece& piece : answered_for(whole())) {
    const std::string& its = rows_[piece.row].info.file;
    if (turn < 0 || its != file) ++turn;
    file = its;
    if (turn % replica.count == replica.index) written.push_back(piece);
  }
  return written;
}

}  // namespace seq1f1b::parameters
