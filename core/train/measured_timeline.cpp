#include "core/train/measured_timeline.h"

#include <cstring>

namespace seq1f1b::train {

simulate::Timeline measured_timeline(const runtime::StageLoop& loop, comm::Group& all) {
  using Span = simulate::Timeline::Span;
  std::vector<Span> mine;
  if (loop.timed_every() == 1)
    for (const runtime::ActionTimes& times : loop.times()) mine.push_back({times.begin, times.end});
  std::string packed(mine.size() * sizeof(Span), '\0');
  if (!mine.empty()) std::memcpy(packed.data(), mine.data(), packed.size());
  std::vector<std::vector<Span>> spans;
  for (const std::string& bytes : all.all_gather(
           packed, [] { return std::string("gathering the measured times of the last pass"); })) {
    std::vector<Span>& of_rank = spans.emplace_back(bytes.size() / sizeof(Span));
    if (!of_rank.empty()) std::memcpy(of_rank.data(), bytes.data(), bytes.size());
  }
  return simulate::timeline_of(std::move(spans));
}

}  // namespace seq1f1b::train
