// `seq1f1b doctor`: what every rank of a run did last, from the rings that survive any death.
#include <algorithm>
#include <filesystem>
#include <iomanip>
#include <iostream>

#include "apps/commands.h"
#include "core/runtime/action_ring.h"
#include "kernels/common/errors.h"

namespace seq1f1b::apps {
namespace {

namespace fs = std::filesystem;

struct Ring {
  std::string name;  // "rank_00002"
  std::vector<runtime::ActionRing::Entry> entries;
};

std::vector<Ring> rings_of(const std::string& run_directory) {
  std::vector<Ring> rings;
  std::error_code missing;
  for (const auto& file : fs::directory_iterator(run_directory + "/logs", missing))
    if (file.path().extension() == ".ring")
      rings.push_back({file.path().stem(), runtime::read_action_ring(file.path())});
  if (rings.empty())
    throw DataError(concat(run_directory, ": no run directory with logs/rank_*.ring"));
  std::sort(rings.begin(), rings.end(),
            [](const Ring& a, const Ring& b) { return a.name < b.name; });
  return rings;
}

}  // namespace

int run_doctor(const DoctorArguments& arguments) {
  const std::vector<Ring> rings = rings_of(arguments.run_directory);
  double newest = 0;
  for (const Ring& ring : rings)
    for (const auto& entry : ring.entries) newest = std::max(newest, entry.unix_seconds);
  std::cout << "last actions by rank; ages against the newest of all ranks\n" << std::fixed;
  for (const Ring& ring : rings) {
    std::cout << ring.name << (ring.entries.empty() ? ": nothing was run\n" : "\n");
    const auto shown = std::min(ring.entries.size(), static_cast<std::size_t>(arguments.actions));
    for (std::size_t i = ring.entries.size() - shown; i < ring.entries.size(); ++i) {
      const auto& entry = ring.entries[i];
      std::cout << "  step " << entry.step << "  " << schedule::describe(entry.action) << ": "
                << runtime::phase_name(entry.phase) << "  (" << std::setprecision(3)
                << newest - entry.unix_seconds << " s ago)\n";
    }
  }
  return kExitComplete;
}

}  // namespace seq1f1b::apps
