// `seq1f1b doctor`: what every rank of a run's last start did last and how it ended, from the rings
// that survive any death.
#include <algorithm>
#include <iomanip>
#include <iostream>

#include "apps/commands.h"
#include "core/base/text.h"
#include "core/runtime/last_start.h"
#include "kernels/common/errors.h"

namespace seq1f1b::apps {
namespace {

const char* how_it_ended(runtime::Ending ending) {
  switch (ending) {
    case runtime::Ending::kNone:
      return "still runs, or stopped without a word";
    case runtime::Ending::kComplete:
      return "came to the end";
    case runtime::Ending::kTold:
      return "ended with an error, which is in its log";
    case runtime::Ending::kSignal:
      return "was asked to end";
  }
  return "?";
}

void print(const runtime::RingContents& ring, std::size_t actions, double newest) {
  const auto& entries = ring.entries;
  std::cout << "rank " << ring.rank << ": " << how_it_ended(ring.ending)
            << (entries.empty() ? "; nothing was run\n" : "\n");
  for (std::size_t i = entries.size() - std::min(entries.size(), actions); i < entries.size(); ++i)
    std::cout << "  step " << entries[i].step << "  " << schedule::describe(entries[i].action)
              << ": " << runtime::phase_name(entries[i].phase) << "  (" << std::setprecision(3)
              << newest - entries[i].unix_seconds << " s ago)\n";
}

}  // namespace

int run_doctor(const DoctorArguments& arguments) {
  const runtime::LastStart last = runtime::read_last_start(arguments.run_directory + "/logs");
  if (last.rings.empty())
    throw DataError(concat(arguments.run_directory, ": no run directory with logs/rank_*.ring",
                           last.left_over.empty() ? "" : " that can be read"));
  double newest = 0;
  for (const auto& ring : last.rings)
    for (const auto& entry : ring.entries) newest = std::max(newest, entry.unix_seconds);
  std::cout << "last start, of " << last.start.ranks << (last.start.ranks == 1 ? " rank" : " ranks")
            << "; ages of actions against the newest of all\n"
            << std::fixed;
  for (const auto& ring : last.rings)
    print(ring, static_cast<std::size_t>(arguments.actions), newest);
  if (last.rings.size() < static_cast<std::size_t>(last.start.ranks))
    std::cout << "the other ranks left nothing\n";
  if (const std::string lost = runtime::lost_ranks(last); !lost.empty())
    std::cout << "if nothing of it runs any more, " << lost << "\n";
  if (!last.left_over.empty())
    std::cout << "not shown, as earlier starts left them or they cannot be read: "
              << base::join(last.left_over) << "\n";
  return kExitComplete;
}

}  // namespace seq1f1b::apps
