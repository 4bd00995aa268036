#include "core/runtime/last_start.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <system_error>

#include "core/base/text.h"
#include "kernels/common/errors.h"

namespace seq1f1b::runtime {
namespace {

// Of many lost ranks the first tell enough.
constexpr std::size_t kMostNamed = 3;

}  // namespace

LastStart read_last_start(const std::string& folder) {
  namespace fs = std::filesystem;
  LastStart last;
  std::map<std::string, RingContents> rings;  // by name, which sorts them by rank
  std::error_code error;
  for (fs::directory_iterator file(folder, error), end; !error && file != end;
       file.increment(error))
    if (file->path().extension() == ".ring") try {
        rings.emplace(file->path().stem().string(), read_action_ring(file->path().string()));
      } catch (const DataError&) {  // another version's, or one that was just being made
        last.left_over.push_back(file->path().stem().string());
      }
  if (error && error != std::errc::no_such_file_or_directory)
    throw DataError(concat("cannot look into ", folder, ": ", error.message()));

  std::ranges::sort(last.left_over);
  if (rings.empty()) return last;
  const auto newest = std::ranges::max_element(rings, {}, [](const auto& named) {
    const RingContents& ring = named.second;
    return std::pair(ring.rank == 0, ring.start.unix_nanoseconds);
  });
  last.start = newest->second.start;
  for (auto& [name, ring] : rings) {
    if (ring.start == last.start)
      last.rings.push_back(std::move(ring));
    else
      last.left_over.push_back(name);
  }
  std::ranges::sort(last.left_over);
  return last;
}

std::string last_action(const RingContents& ring) {
  if (ring.entries.empty()) return "before its first action";
  const ActionRing::Entry& entry = ring.entries.back();
  return concat(entry.phase == Phase::kDone ? "after the " : "in the ",
                schedule::describe(entry.action), " (step ", entry.step, ")");
}

std::string lost_ranks(const LastStart& last) {
  std::vector<std::string> lost;
  auto ring = last.rings.begin();
  for (int rank = 0; rank < last.start.ranks && !last.rings.empty(); ++rank) {
    if (ring == last.rings.end() || ring->rank != rank) {
      lost.push_back(concat("rank ", rank, " before it began"));
      continue;
    }
    if (ring->ending == Ending::kComplete || ring->ending == Ending::kTold) return "";
    if (ring->ending == Ending::kNone)
      lost.push_back(concat("rank ", rank, " ", last_action(*ring)));
    ++ring;
  }
  if (lost.empty()) return "";
  const std::size_t count = lost.size();
  if (count > kMostNamed) {
    lost.resize(kMostNamed);
    lost.push_back(concat(count - kMostNamed, " more"));
  }
  return concat("the last start here was lost: of its ", last.start.ranks, " ranks ",
                base::join(lost),
                " stopped without a word: killed (for memory?), crashed, or its machine failed");
}

}  // namespace seq1f1b::runtime
