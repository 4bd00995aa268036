#pragma once
// All schedules by name: the one list that configuration, help, generators and tests read.
#include <span>
#include <string>
#include <vector>

#include "core/schedule/schedule.h"

namespace seq1f1b::schedule {

struct CatalogueEntry {
  const char* name;
  const char* summary;  // for help and documents, a few words
  // The schedule to take for more than one segment; its own name where it splits sequences.
  const char* with_segments;
  // Chunks per rank, v: from `least_chunks` on, up to `most_chunks`.
  int least_chunks, most_chunks;
  FeatureSet features;
  // Pure; the spec is within the entry's limits. Fills in placement and orders, or throws
  // ConfigError with the broken rule and legal neighbours.
  void (*generate)(Schedule& schedule);

  bool trains() const { return features.has(Feature::kBackward); }
  bool splits_sequences() const { return std::string(with_segments) == name; }
};
inline constexpr int kAnyChunks = 1 << 15;  // as many as there are layers for

std::span<const CatalogueEntry> catalogue();
// Null when there is none.
const CatalogueEntry* find_schedule(const std::string& name);
// Of those that train: what a configuration may name.
std::vector<std::string> training_schedule_names();

// Pure. Throws ConfigError for a name that does not exist and for a spec that the schedule does not
// allow, with legal neighbours. The result passes validate().
Schedule make_schedule(const Spec& spec);
// Evaluates with the stages where the training schedule has them.
Schedule evaluation_of(const Schedule& training);

}  // namespace seq1f1b::schedule
