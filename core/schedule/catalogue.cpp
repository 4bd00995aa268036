#include "core/schedule/catalogue.h"

#include <algorithm>

#include "core/schedule/generators/generators.h"
#include "kernels/common/errors.h"

namespace seq1f1b::schedule {
namespace {

constexpr FeatureSet kEvaluates = {};
constexpr FeatureSet kTrains = {Feature::kBackward};
constexpr FeatureSet kSplits = {Feature::kBackward, Feature::kSplitBackward};

constexpr CatalogueEntry kCatalogue[] = {
    {"gpipe", "all forwards, then all backwards", "terapipe", 1, 1, kTrains, all_forwards_first},
    {"1f1b", "one forward, one backward", "seq1f1b", 1, 1, kTrains, one_forward_one_backward},
    {"terapipe", "gpipe by segments", "terapipe", 1, 1, kTrains, all_forwards_first},
    {"seq1f1b", "1f1b by segments", "seq1f1b", 1, 1, kTrains, one_forward_one_backward},
    {"interleaved", "1f1b with several chunks per rank", "seq1f1b-i", 2, kAnyChunks, kTrains,
     interleaved},
    {"seq1f1b-i", "interleaved by segments", "seq1f1b-i", 2, kAnyChunks, kTrains, interleaved},
    {"zb-h1", "1f1b with weight gradients apart, in its gaps", "seq1f1b-zb", 1, 1, kSplits,
     zero_bubble},
    {"seq1f1b-zb", "zb-h1 by segments", "seq1f1b-zb", 1, 1, kSplits, zero_bubble},
    {"forward_only", "evaluation", "forward_only", 1, kAnyChunks, kEvaluates, forwards_only},
};

const CatalogueEntry& find_or_throw(const std::string& name) {
  if (const CatalogueEntry* entry = find_schedule(name)) return *entry;
  std::string names;
  for (const CatalogueEntry& entry : kCatalogue)
    names += concat(names.empty() ? "" : ", ", entry.name);
  throw ConfigError(concat("schedule.name: no schedule is called '", name, "'; there are ", names));
}

void check_spec(const Spec& spec, const CatalogueEntry& entry) {
  const auto at_least_one = [](const char* what, int value) {
    if (value < 1) throw ConfigError(concat(what, " = ", value, ", but must be at least 1"));
  };
  at_least_one("pipeline ranks", spec.ranks);
  at_least_one("chunks per rank", spec.chunks);
  at_least_one("micro-batches", spec.micro_batches);
  at_least_one("schedule.segments", spec.segments);
  constexpr const char* kChunksKey = "parallel.virtual_pipeline_model_parallel_size = ";
  if (spec.chunks > entry.most_chunks) {
    SEQ1F1B_ASSERT(entry.most_chunks == 1, "a limit that the message does not know");
    throw ConfigError(concat(kChunksKey, spec.chunks, ", but ", spec.name,
                             " places one chunk on each rank: set it to 1, or schedule.name to ",
                             spec.segments > 1 ? "seq1f1b-i" : "interleaved"));
  }
  if (spec.chunks < entry.least_chunks)
    throw ConfigError(concat(kChunksKey, spec.chunks, ", but ", spec.name, " needs at least ",
                             entry.least_chunks, " chunks per rank: set it to ", entry.least_chunks,
                             ", or schedule.name to ", spec.segments > 1 ? "seq1f1b" : "1f1b"));
  if (spec.segments > 1 && !entry.splits_sequences())
    throw ConfigError(concat("schedule.segments = ", spec.segments, ", but ", spec.name,
                             " does not split sequences: set schedule.segments to 1, or "
                             "schedule.name to ",
                             entry.with_segments));
  // Indices of actions are 32 bits wide.
  constexpr std::int64_t kMostUnits = 1 << 24;
  if (std::int64_t{spec.micro_batches} * spec.segments * spec.chunks > kMostUnits)
    throw ConfigError(concat("micro-batches * schedule.segments",
                             spec.chunks > 1 ? " * chunks" : "", " = ", spec.micro_batches, " * ",
                             spec.segments, spec.chunks > 1 ? concat(" * ", spec.chunks) : "",
                             " is more than the ", kMostUnits,
                             " units that a step may have: use fewer, larger micro-batches"));
}

}  // namespace

std::span<const CatalogueEntry> catalogue() { return kCatalogue; }

const CatalogueEntry* find_schedule(const std::string& name) {
  const auto* const entry = std::ranges::find_if(
      kCatalogue, [&](const CatalogueEntry& candidate) { return candidate.name == name; });
  return entry == std::end(kCatalogue) ? nullptr : entry;
}

std::vector<std::string> training_schedule_names() {
  std::vector<std::string> names;
  for (const CatalogueEntry& entry : kCatalogue)
    if (entry.trains()) names.emplace_back(entry.name);
  return names;
}

Schedule make_schedule(const Spec& spec) {
  const CatalogueEntry& entry = find_or_throw(spec.name);
  check_spec(spec, entry);
  Schedule schedule{
      .spec = spec, .features = entry.features, .depth = {}, .placement = {}, .orders = {}};
  entry.generate(schedule);
  return schedule;
}

Schedule evaluation_of(const Schedule& training) {
  Schedule evaluation{.spec = training.spec,
                      .features = {},
                      .depth = training.depth,
                      .placement = training.placement,
                      .orders = {}};
  evaluation.spec.name = "forward_only";
  forwards_only(evaluation);
  return evaluation;
}

}  // namespace seq1f1b::schedule
