#include "core/schedule/packing.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <numeric>
#include <set>

namespace seq1f1b::schedule {
namespace {

using Sequence = std::vector<std::size_t>;  // indices of intervals

// Over the bound: good enough to look no further, good enough to stop improving. A placement takes
// about a microsecond, so the improvement ends within a fraction of a second.
constexpr double kGood = 1.05, kAcceptable = 1.10;
constexpr std::size_t kMostRounds = 60, kMostPlacements = 300'000;

enum class Fit { kFirst, kBest };

// Places intervals in a given sequence, each into a gap between those placed before it that live at
// the same time.
class Packer {
 public:
  explicit Packer(std::vector<Interval> intervals) : intervals_(std::move(intervals)) {
    by_start_.resize(intervals_.size());
    std::iota(by_start_.begin(), by_start_.end(), std::size_t{0});
    std::ranges::stable_sort(by_start_, {}, [&](std::size_t i) { return intervals_[i].first; });
    // Latest end among the intervals that start no later: where a search for neighbours may stop.
    std::int32_t latest = -1;
    for (const std::size_t i : by_start_)
      latest_end_.push_back(latest = std::max(latest, intervals_[i].last));
  }

  const Sequence& by_start() const { return by_start_; }

  // Bytes of the result are those of this packer's sizes, which may be grown.
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

  // Storage taken by what was placed before and lives at the same time, by offset. Only intervals
  // between the first that may reach into this one and the last that starts in it are looked at.
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

  // The lowest gap that is wide enough, or the narrowest one; above everything when there is none.
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

  std::vector<Interval> intervals_;
  Sequence by_start_;
  std::vector<std::int32_t> latest_end_;  // along by_start_
  std::vector<char> placed_;
  std::vector<Range> neighbours_;
};

// Sizes in few classes: every interval grows to the largest size of its class, so that what one
// leaves another fits exactly, however slightly their sizes differ. Classes are ranges of the
// sorted sizes, chosen by dynamic programming to minimise the sum over classes of (largest size) *
// (most alive at once), which is what the arena would be if every class had slots of its own.
std::vector<Interval> grow_to_classes(std::span<const Interval> intervals, bool momentary_too) {
  std::vector<Interval> grown(intervals.begin(), intervals.end());
  const auto takes_part = [&](const Interval& interval) {
    return interval.bytes > 0 && (momentary_too || interval.first < interval.last);
  };
  std::map<std::size_t, Sequence, std::greater<>> by_size;
  std::int32_t end = 0;
  for (std::size_t i = 0; i < intervals.size(); ++i) {
    end = std::max(end, intervals[i].last + 1);
    if (takes_part(intervals[i])) by_size[intervals[i].bytes].push_back(i);
  }
  const std::vector<std::pair<std::size_t, Sequence>> sizes(by_size.begin(), by_size.end());

  constexpr std::size_t kMostSizes = 100;  // the work is their square times the length of time
  if (sizes.size() > kMostSizes) return grown;
  // cheapest[j]: slots of the j largest sizes, of which the last class begins at begin[j].
  std::vector<double> cheapest(sizes.size() + 1, std::numeric_limits<double>::infinity());
  std::vector<std::size_t> begin(sizes.size() + 1);
  cheapest[0] = 0;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    std::vector<int> change(static_cast<std::size_t>(end) + 1);
    for (std::size_t j = i; j < sizes.size(); ++j) {
      for (const std::size_t member : sizes[j].second) {
        ++change[static_cast<std::size_t>(intervals[member].first)];
        --change[static_cast<std::size_t>(intervals[member].last) + 1];
      }
      int alive = 0, most = 0;
      for (const int difference : change) most = std::max(most, alive += difference);
      const double cost = cheapest[i] + static_cast<double>(sizes[i].first) * most;
      if (cost >= cheapest[j + 1]) continue;
      cheapest[j + 1] = cost;
      begin[j + 1] = i;
    }
  }
  for (std::size_t j = sizes.size(); j > 0; j = begin[j])
    for (std::size_t size = begin[j]; size < j; ++size)
      for (const std::size_t member : sizes[size].second)
        grown[member].bytes = sizes[begin[j]].first;
  return grown;
}

// One way of placing: sizes as they are or grown, in a first sequence, with a fit.
struct Strategy {
  std::shared_ptr<Packer> packer;
  Sequence sequence;
  Fit fit;
  int attempts = 0;
};

// In time, as an online allocator would; or the bulky first, while there are few obstacles, whether
// bulk is size, duration or both.
std::vector<Strategy> make_strategies(const std::vector<std::vector<Interval>>& sizes) {
  const auto bytes = [](const Interval& interval) { return static_cast<double>(interval.bytes); };
  const auto length = [](const Interval& i) { return static_cast<double>(i.last - i.first + 1); };
  const auto area = [&](const Interval& i) { return bytes(i) * length(i); };
  std::vector<Strategy> strategies;
  for (const std::vector<Interval>& intervals : sizes) {
    const auto packer = std::make_shared<Packer>(intervals);
    std::vector<Sequence> sequences{packer->by_start()};
    const auto add = [&](const auto& weight) {
      sequences.push_back(packer->by_start());
      std::ranges::stable_sort(sequences.back(), std::greater{},
                               [&](std::size_t i) { return weight(intervals[i]); });
    };
    add(bytes);
    add(length);
    add(area);
    for (const Sequence& sequence : sequences)
      for (const Fit fit : {Fit::kFirst, Fit::kBest}) strategies.push_back({packer, sequence, fit});
  }
  return strategies;
}

// Tries strategies and keeps the best packing.
class Search {
 public:
  explicit Search(std::span<const Interval> intervals)
      : intervals_(intervals), bound_(static_cast<double>(live_maximum(intervals))) {}

  bool within(double factor) const { return static_cast<double>(best_.bytes) <= factor * bound_; }
  Packing take_best() { return std::move(best_); }

  void attempt(Strategy& strategy) {
    Packing packing = strategy.packer->place(strategy.sequence, strategy.fit);
    packing.bytes = 0;
    for (std::size_t i = 0; i < intervals_.size(); ++i)
      packing.bytes = std::max(packing.bytes, end_of(packing, i));
    promote(strategy, packing);
    if (packing.bytes < best_.bytes) best_ = std::move(packing);
  }

 private:
  // Of the size as it is, not as it was grown.
  std::size_t end_of(const Packing& packing, std::size_t i) const {
    return packing.offsets[i] + intervals_[i].bytes;
  }

  // What stuck out above the bound comes earlier the next time; every other time, all intervals as
  // large as those that reached the very top, since an order repeats itself.
  void promote(Strategy& strategy, const Packing& packing) const {
    const double limit = std::min(kGood * bound_, static_cast<double>(packing.bytes) - 1);
    const bool by_size = ++strategy.attempts % 2 == 0;
    std::set<std::size_t> sizes_at_top;
    for (std::size_t i = 0; by_size && i < intervals_.size(); ++i)
      if (end_of(packing, i) == packing.bytes) sizes_at_top.insert(intervals_[i].bytes);
    std::ranges::stable_partition(strategy.sequence, [&](std::size_t i) {
      return by_size ? sizes_at_top.contains(intervals_[i].bytes)
                     : static_cast<double>(end_of(packing, i)) > limit;
    });
  }

  std::span<const Interval> intervals_;
  double bound_;
  Packing best_{.offsets = {}, .bytes = std::numeric_limits<std::size_t>::max()};
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
  if (live_maximum(intervals) == 0)
    return {.offsets = std::vector<std::size_t>(intervals.size()), .bytes = 0};
  std::vector<Strategy> strategies = make_strategies({{intervals.begin(), intervals.end()},
                                                      grow_to_classes(intervals, true),
                                                      grow_to_classes(intervals, false)});
  Search search(intervals);
  for (Strategy& strategy : strategies)
    if (!search.within(kGood)) search.attempt(strategy);

  std::size_t placements = 0;
  for (std::size_t round = 0; round < kMostRounds; ++round)
    for (Strategy& strategy : strategies) {
      placements += intervals.size();
      if (search.within(kAcceptable) || placements > kMostPlacements) return search.take_best();
      search.attempt(strategy);
    }
  return search.take_best();
}

}  // namespace seq1f1b::schedule
