#include "core/schedule/packing.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <numeric>
#include <set>

#include "kernels/common/errors.h"

namespace seq1f1b::schedule {
namespace {

using Sequence = std::vector<std::size_t>;  // indices of items or intervals

// Over the bound: good enough to look no further, good enough to stop improving. A placement takes
// about a microsecond, so the improvement ends within a fraction of a second.
constexpr double kGood = 1.05, kAcceptable = 1.10;
constexpr std::size_t kMostRounds = 60, kMostPlacements = 300'000;

enum class Fit { kFirst, kBest };

// Storage to be placed, and what is used at the same time as it.
struct Item {
  std::size_t bytes = 0;
  std::int32_t first = 0;   // begin of its earliest interval
  std::int32_t length = 0;  // of its longest interval
  Sequence intervals;
  std::vector<std::int32_t> neighbours;  // other items
};

std::vector<Item> make_items(std::span<const Interval> intervals,
                             std::span<const std::int32_t> place_of) {
  SEQ1F1B_ASSERT(place_of.size() == intervals.size(), "a place for every interval");
  std::vector<Item> items;
  for (std::size_t i = 0; i < intervals.size(); ++i) {
    const Interval& interval = intervals[i];
    const auto place = static_cast<std::size_t>(place_of[i]);
    if (place >= items.size()) items.resize(place + 1);
    Item& item = items[place];
    SEQ1F1B_ASSERT(item.intervals.empty() || item.bytes == interval.bytes,
                   "intervals of one place have one size");
    item.first = item.intervals.empty() ? interval.first : std::min(item.first, interval.first);
    item.length = std::max(item.length, interval.last - interval.first + 1);
    item.bytes = interval.bytes;
    item.intervals.push_back(i);
  }

  // In time, every interval meets those that are alive when it begins.
  Sequence by_start(intervals.size()), alive;
  std::iota(by_start.begin(), by_start.end(), std::size_t{0});
  std::ranges::stable_sort(by_start, {}, [&](std::size_t i) { return intervals[i].first; });
  for (const std::size_t i : by_start) {
    if (intervals[i].bytes == 0) continue;
    std::erase_if(alive, [&](std::size_t j) { return intervals[j].last < intervals[i].first; });
    for (const std::size_t j : alive) {
      SEQ1F1B_ASSERT(place_of[i] != place_of[j], "intervals of place ", place_of[i], " overlap");
      items[static_cast<std::size_t>(place_of[i])].neighbours.push_back(place_of[j]);
      items[static_cast<std::size_t>(place_of[j])].neighbours.push_back(place_of[i]);
    }
    alive.push_back(i);
  }
  for (Item& item : items) {
    std::ranges::sort(item.neighbours);
    const auto rest = std::ranges::unique(item.neighbours);
    item.neighbours.erase(rest.begin(), rest.end());
  }
  return items;
}

// Places items in a given sequence, each into a gap between those neighbours placed before it.
class Packer {
 public:
  // `bytes` of every item, which may be grown.
  Packer(std::span<const Item> items, std::vector<std::size_t> bytes)
      : items_(items), bytes_(std::move(bytes)) {}

  std::vector<std::size_t> place(const Sequence& sequence, Fit fit) {
    std::vector<std::size_t> offsets(items_.size());
    placed_.assign(items_.size(), 0);
    for (const std::size_t i : sequence) {
      if (bytes_[i] == 0) continue;
      collect_neighbours(i, offsets);
      offsets[i] = find_gap(bytes_[i], fit);
      placed_[i] = 1;
    }
    return offsets;
  }

 private:
  struct Range {
    std::size_t begin, end;
  };

  // Storage taken by what was placed before and is used at the same time, by offset.
  void collect_neighbours(std::size_t i, const std::vector<std::size_t>& offsets) {
    taken_.clear();
    for (const std::int32_t neighbour : items_[i].neighbours) {
      const auto other = static_cast<std::size_t>(neighbour);
      if (placed_[other]) taken_.push_back({offsets[other], offsets[other] + bytes_[other]});
    }
    std::ranges::sort(taken_, {}, &Range::begin);
  }

  // The lowest gap that is wide enough, or the narrowest one; above everything when there is none.
  std::size_t find_gap(std::size_t bytes, Fit fit) const {
    std::size_t free_from = 0, best = 0, best_size = 0;
    bool found = false;
    for (const Range& range : taken_) {
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

  std::span<const Item> items_;
  std::vector<std::size_t> bytes_;
  std::vector<char> placed_;
  std::vector<Range> taken_;
};

// Sizes in few classes: every item grows to the largest size of its class, so that what one leaves
// another fits exactly, however slightly their sizes differ. Classes are ranges of the sorted
// sizes, chosen by dynamic programming to minimise the sum over classes of (largest size) * (most
// alive at once), which is what the arena would be if every class had slots of its own.
std::vector<std::size_t> grow_to_classes(std::span<const Item> items,
                                         std::span<const Interval> intervals, bool momentary_too) {
  std::vector<std::size_t> grown;
  std::map<std::size_t, Sequence, std::greater<>> by_size;
  for (std::size_t i = 0; i < items.size(); ++i) {
    grown.push_back(items[i].bytes);
    if (items[i].bytes > 0 && (momentary_too || items[i].length > 1))
      by_size[items[i].bytes].push_back(i);
  }
  std::int32_t end = 0;
  for (const Interval& interval : intervals) end = std::max(end, interval.last + 1);
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
      for (const std::size_t member : sizes[j].second)
        for (const std::size_t interval : items[member].intervals) {
          ++change[static_cast<std::size_t>(intervals[interval].first)];
          --change[static_cast<std::size_t>(intervals[interval].last) + 1];
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
      for (const std::size_t member : sizes[size].second) grown[member] = sizes[begin[j]].first;
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
std::vector<Strategy> make_strategies(std::span<const Item> items,
                                      const std::vector<std::vector<std::size_t>>& sizes) {
  std::vector<Strategy> strategies;
  Sequence in_time(items.size());
  std::iota(in_time.begin(), in_time.end(), std::size_t{0});
  std::ranges::stable_sort(in_time, {}, [&](std::size_t i) { return items[i].first; });
  for (const std::vector<std::size_t>& bytes : sizes) {
    const auto packer = std::make_shared<Packer>(items, bytes);
    std::vector<Sequence> sequences{in_time};
    const auto add = [&](const auto& weight) {
      sequences.push_back(in_time);
      std::ranges::stable_sort(sequences.back(), std::greater{}, weight);
    };
    const auto size = [&](std::size_t i) { return static_cast<double>(bytes[i]); };
    const auto length = [&](std::size_t i) { return static_cast<double>(items[i].length); };
    add(size);
    add(length);
    add([&](std::size_t i) { return size(i) * length(i); });
    for (const Sequence& sequence : sequences)
      for (const Fit fit : {Fit::kFirst, Fit::kBest}) strategies.push_back({packer, sequence, fit});
  }
  return strategies;
}

// Tries strategies and keeps the best packing.
class Search {
 public:
  Search(std::span<const Item> items, std::size_t bound)
      : items_(items), bound_(static_cast<double>(bound)) {}

  bool within(double factor) const { return static_cast<double>(best_.bytes) <= factor * bound_; }
  Packing take_best() { return std::move(best_); }

  void attempt(Strategy& strategy) {
    Packing packing{strategy.packer->place(strategy.sequence, strategy.fit), 0};
    for (std::size_t i = 0; i < items_.size(); ++i)
      packing.bytes = std::max(packing.bytes, end_of(packing, i));
    promote(strategy, packing);
    if (packing.bytes < best_.bytes) best_ = std::move(packing);
  }

 private:
  // Of the size as it is, not as it was grown.
  std::size_t end_of(const Packing& packing, std::size_t i) const {
    return packing.offsets[i] + items_[i].bytes;
  }

  // What stuck out above the bound comes earlier the next time; every other time, all items as
  // large as those that reached the very top, since an order repeats itself.
  void promote(Strategy& strategy, const Packing& packing) const {
    const double limit = std::min(kGood * bound_, static_cast<double>(packing.bytes) - 1);
    const bool by_size = ++strategy.attempts % 2 == 0;
    std::set<std::size_t> sizes_at_top;
    for (std::size_t i = 0; by_size && i < items_.size(); ++i)
      if (end_of(packing, i) == packing.bytes) sizes_at_top.insert(items_[i].bytes);
    std::ranges::stable_partition(strategy.sequence, [&](std::size_t i) {
      return by_size ? sizes_at_top.contains(items_[i].bytes)
                     : static_cast<double>(end_of(packing, i)) > limit;
    });
  }

  std::span<const Item> items_;
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
  std::vector<std::int32_t> own(intervals.size());
  std::iota(own.begin(), own.end(), 0);
  return pack(intervals, own);
}

Packing pack(std::span<const Interval> intervals, std::span<const std::int32_t> place_of) {
  const std::vector<Item> items = make_items(intervals, place_of);
  const std::size_t bound = live_maximum(intervals);
  if (bound == 0) return {.offsets = std::vector<std::size_t>(items.size()), .bytes = 0};
  std::vector<std::size_t> bytes;
  for (const Item& item : items) bytes.push_back(item.bytes);
  std::vector<Strategy> strategies = make_strategies(
      items,
      {bytes, grow_to_classes(items, intervals, true), grow_to_classes(items, intervals, false)});
  Search search(items, bound);
  for (Strategy& strategy : strategies)
    if (!search.within(kGood)) search.attempt(strategy);

  std::size_t placements = 0;
  for (std::size_t round = 0; round < kMostRounds; ++round)
    for (Strategy& strategy : strategies) {
      placements += items.size();
      if (search.within(kAcceptable) || placements > kMostPlacements) return search.take_best();
      search.attempt(strategy);
    }
  return search.take_best();
}

}  // namespace seq1f1b::schedule
