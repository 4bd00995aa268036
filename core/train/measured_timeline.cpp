#include "core/train/measured_timeline.h"

#include <span>
#include <vector>

namespace seq1f1b::train {

simulate::Timeline measured_timeline(const runtime::StageLoop& loop, comm::Group& all) {
  using Span = simulate::Span;
  std::vector<Span> mine;
  if (loop.timed_every() == 1)
    for (const runtime::ActionTimes& times : loop.times()) mine.push_back({times.begin, times.end});
  return simulate::timeline_of(all.all_gather(std::span<const Span>(mine), [] {
    return std::string("gathering the measured times of the last pass");
  }));
}

}  // namespace seq1f1b::train
