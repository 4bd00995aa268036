#include "core/schedule/packing.h"

#include <algorithm>
#include <functional>
#include <numeric>

namespace seq1f1b::schedule {
namespace {

using Sequence = std::vector<std::size_t>;  // indices of intervals

enum class Fit { kFirst, kBest };

// Places intervals in a given sequence, each into a gap between those placed before it that live at
// the same time.
class Packer {
 public:
  explicit Packer(std::span<const Interval> intervals) : intervals_(intervals) {
    by_start_.resize(intervals.size());
    std::iota(by_start_.begin(), by_start_.end(), std::size_t{0});
    std::ranges::stable_sort(by_start_, {}, [&](std::size_t i) { return intervals[i].first; });
    // Latest end among the intervals that start no later: where a search for neighbours may stop.
    std::int32_t latest = -1;
    for (const std::size_t i : by_start_)
      latest_end_.push_back(latest = std::max(latest, intervals[i].last));
  }

  const Sequence& by_start() const { return by_start_; }

  Packing place(const Sequence& sequence, Fit fit) {
    Packing result{std::vector<std::size_t>(intervals_.size()), 0};
    placed_.assign(intervals_.size(), 0);
    for (const std::size_t i : sequence) {
      if (intervals_[i].bytes == 0) continue;
      collect_neighbours(i, result.offsets);
      result.offsets[i] = find_gap(intervals_[i].bytes, fit);
      result.bytes = std::max(result.bytes, result.offsets[i] + intervals_[i].bytes);
      placed_[i] = 1;
    }
    return result;
  }

 private:
  struct Range {
    std::size_t begin, end;
  };

  void collect_neighbours(std::size_t i, const std::vector<std::size_t>& offsets) {
    const Interval& interval = intervals_[i];
    neighbours_.clear();
    const auto from = std::ranges::lower_bound(latest_end_, interval.first) - latest_end_.begin();
    for (auto at = static_cast<std::size_t>(from); at < by_start_.size(); ++at) {
      const std::size_t other = by_start_[at];
      if (intervals_[other].first > interval.last) break;
      if (placed_[other] && intervals_[other].last >= interval.first)
        neighbours_.push_back({offsets[other], offsets[other] + intervals_[other].bytes});
    }
    std::ranges::sort(neighbours_, {}, &Range::begin);
  }

  std::size_t find_gap(std::size_t bytes, Fit fit) const {
    std::size_t free_from = 0, best = 0, best_size = 0;
    bool found = false;
    for (const Range& range : neighbours_) {
      if (range.begin >= free_from + bytes && (!found || range.begin - free_from < best_size)) {
        best = free_from;
        best_size = range.begin - free_from;
        found = true;
        if (fit == Fit::kFirst) break;
      }
      free_from = std::max(free_from, range.end);
    }
    return found ? best : free_from;
  }

  std::span<const Interval> intervals_;
  Sequence by_start_;
  std::vector<std::int32_t> latest_end_;  // along by_start_
  std::vector<char> placed_;
  std::vector<Range> neighbours_;
};

}  // namespace

std::size_t live_maximum(std::span<const Interval> intervals) {
  std::int32_t end = 0;
  for (const Interval& interval : intervals) end = std::max(end, interval.last + 1);
  std::vector<std::size_t> opened(static_cast<std::size_t>(end)), closed(opened);
  for (const Interval& interval : intervals) {
    opened[static_cast<std::size_t>(interval.first)] += interval.bytes;
    closed[static_cast<std::size_t>(interval.last)] += interval.bytes;
  }
  std::size_t live = 0, most = 0;
  for (std::size_t at = 0; at < opened.size(); ++at) {
    most = std::max(most, live += opened[at]);
    live -= closed[at];
  }
  return most;
}

Packing pack(std::span<const Interval> intervals) {
  Packer packer(intervals);
  const std::size_t bound = live_maximum(intervals);
  Packing best;
  const auto attempt = [&](const Sequence& sequence) {
    for (const Fit fit : {Fit::kFirst, Fit::kBest}) {
      if (!best.offsets.empty() && best.bytes == bound) return;
      Packing packing = packer.place(sequence, fit);
      if (best.offsets.empty() || packing.bytes < best.bytes) best = std::move(packing);
    }
  };
  attempt(packer.by_start());
  const auto largest_first = [&](const std::function<double(const Interval&)>& size) {
    Sequence sequence = packer.by_start();
    std::ranges::stable_sort(sequence, std::greater{},
                             [&](std::size_t i) { return size(intervals[i]); });
    attempt(sequence);
  };
  const auto bytes = [](const Interval& interval) { return static_cast<double>(interval.bytes); };
  const auto length = [](const Interval& interval) {
    return double(interval.last) - interval.first + 1;
  };
  largest_first(bytes);
  largest_first(length);
  largest_first([&](const Interval& interval) { return bytes(interval) * length(interval); });
  return best;
}

}  // namespace seq1f1b::schedule
