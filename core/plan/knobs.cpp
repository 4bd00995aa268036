#include "core/plan/knobs.h"

#include <algorithm>
#include <functional>

#include "core/base/text.h"
#include "core/config/load.h"
#include "core/plan/rank_plan.h"
#include "core/schedule/catalogue.h"
#include "kernels/common/errors.h"

namespace seq1f1b::plan {
namespace {

struct Candidate {
  std::string setting;
  std::function<void(config::Config&)> change;
};

std::vector<Candidate> candidates_of(const config::Config& config) {
  std::vector<Candidate> candidates;
  const auto& wanted = config.schedule;
  const schedule::CatalogueEntry* entry = schedule::find_schedule(config.schedule.name);
  if (entry && entry->splits_sequences() && wanted.partition != "lengths")
    candidates.push_back({concat("schedule.segments=", 2 * wanted.segments),
                          [](config::Config& c) { c.schedule.segments *= 2; }});
  if (wanted.name != "seq1f1b")
    candidates.push_back({"schedule.name=seq1f1b schedule.segments=4", [](config::Config& c) {
                            c.schedule.name = "seq1f1b";
                            c.parallel.virtual_pipeline_model_parallel_size = 1;
                            c.schedule.segments = 4;
                            c.schedule.partition = "flops";
                            c.schedule.segment_lengths.clear();
                          }});
  if (config.training.micro_batch_size > 1)
    candidates.push_back(
        {concat("training.micro_batch_size=", config.training.micro_batch_size / 2),
         [](config::Config& c) { c.training.micro_batch_size /= 2; }});
  candidates.push_back({concat("parallel.pipeline_model_parallel_size=",
                               2 * config.parallel.pipeline_model_parallel_size),
                        [](config::Config& c) { c.parallel.pipeline_model_parallel_size *= 2; }});
  return candidates;
}

}  // namespace

std::size_t fullest_rank_bytes(const JobPlan& job) {
  std::size_t most = 0;
  for (int rank = 0; rank < job.training.spec.ranks; ++rank)
    most = std::max(most, plan_rank(job, rank).needed_bytes());
  return most;
}

std::vector<Knob> cheapest_knobs(const JobPlan& job, std::size_t limit) {
  const std::size_t now = fullest_rank_bytes(job);
  std::vector<Knob> fitting, others;
  for (const Candidate& candidate : candidates_of(job.config)) {
    config::Config changed = job.config;
    candidate.change(changed);
    try {
      const std::size_t bytes = fullest_rank_bytes(plan_job(changed, config::validate(changed, 0)));
      if (bytes < now) (bytes <= limit ? fitting : others).push_back({candidate.setting, bytes});
    } catch (const ConfigError&) {
      // Not every change is possible, e.g. more stages than layers.
    }
  }
  std::stable_sort(others.begin(), others.end(),
                   [](const Knob& a, const Knob& b) { return a.needed_bytes < b.needed_bytes; });
  fitting.insert(fitting.end(), others.begin(), others.end());
  if (fitting.size() > 3) fitting.resize(3);
  return fitting;
}

void require_fits(const JobPlan& job, int rank, std::size_t needed, const MemoryShare& share) {
  const std::size_t limit = share.bytes / static_cast<std::size_t>(share.ranks);
  if (limit == 0 || needed <= limit) return;
  std::string message = concat(
      "rank ", rank, " needs ", base::bytes_text(needed), " (seq1f1b plan shows what for), ",
      share.ranks == 1 ? "but its device has "
                       : concat(share.ranks, " ranks share their device, which has for each "),
      base::bytes_text(limit));
  for (const Knob& knob : cheapest_knobs(job, limit))
    message += concat("\n  ", knob.setting, " would need ", base::bytes_text(knob.needed_bytes),
                      knob.needed_bytes > limit ? ", still too much" : "");
  throw ConfigError(message);
}

}  // namespace seq1f1b::plan
