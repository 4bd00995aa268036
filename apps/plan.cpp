// `seq1f1b plan`: what a configuration means, computed and proved without starting anything.
#include <algorithm>
#include <filesystem>
#include <iomanip>
#include <iostream>

#include "apps/commands.h"
#include "core/base/files.h"
#include "core/base/text.h"
#include "core/base/user_path.h"
#include "core/config/load.h"
#include "core/plan/rank_plan.h"
#include "core/runtime/backend_choice.h"
#include "core/schedule/json.h"
#include "core/simulate/timeline.h"
#include "core/train/set_up.h"
#include "kernels/common/errors.h"

namespace seq1f1b::apps {
namespace {

using plan::JobPlan;
using plan::RankPlan;

template <class... Parts>
void print_row(const std::string& name, const Parts&... parts) {
  std::cout << "  " << std::left << std::setw(10) << name << concat(parts...) << "\n";
}

std::string percent(double share) {
  return concat(std::fixed, std::setprecision(1), 100 * share, " %");
}

// What `auto` would be on this machine; what only a GPU does need not be there, since nothing
// starts.
std::string choose_device(config::Loaded& loaded) {
  const config::RuntimeConfig& runtime = loaded.config.runtime;
  runtime::DeviceChoice choice{runtime.device, "as configured"};
  if (runtime.device == "auto") {
    const std::string wish = runtime::wish_for_cuda(runtime);
    const std::string refusal = wish.empty() ? runtime::cuda_refusal() : "";
    choice = !wish.empty() ? runtime::DeviceChoice{"cuda", "auto, and " + wish}
             : refusal.empty()
                 ? runtime::DeviceChoice{"cuda", "auto, this machine has a GPU"}
                 : runtime::DeviceChoice{
                       "cpu", concat("auto: ", refusal, "; runtime.device=cuda plans for GPUs")};
  }
  runtime::apply_choice(choice, loaded);
  return choice.reason;
}

void print_schedule(const JobPlan& job, const std::string& device_origin) {
  const config::Config& config = job.config;
  const config::ParallelConfig& parallel = config.parallel;
  std::cout << "schedule\n";
  print_row("job", config.model.family, ", ", job.parameters(), " parameters on ",
            job.derived.world_size, " rank", job.derived.world_size == 1 ? "" : "s", " = tp ",
            parallel.tensor_model_parallel_size, " * cp ", parallel.context_parallel_size, " * pp ",
            parallel.pipeline_model_parallel_size, " * dp ", job.derived.data_parallel_size);
  print_row("device", job.config.runtime.device, ", computes in ", job.config.runtime.compute_dtype,
            " (", device_origin, ")");
  print_row("order", job.title(), ", each micro-batch ", config.training.micro_batch_size, " x ",
            config.training.seq_length, " tokens");
  std::vector<std::string> lengths;
  for (const std::int64_t length : job.segment_lengths) lengths.push_back(std::to_string(length));
  print_row("segments", base::join(lengths, " "), " tokens (partition ", config.schedule.partition,
            ", alignment ", config.schedule.alignment, ")");
  const auto edges = schedule::edges_of(job.training);
  print_row("channels",
            std::ranges::count_if(edges, [](const auto& edge) { return !edge.is_local(); }),
            ", each with ", job.training.depth.send_buffers, " send and ",
            job.training.depth.receive_buffers, " receive buffers; proved free of deadlock");
  const simulate::Timeline units = job.simulated(true), flops = job.simulated(false);
  print_row("bubble", percent(units.bubble), " at unit costs (forward 1, backward 2), ",
            percent(flops.bubble), " by FLOPs, ",
            percent(simulate::simulate(job.training, job.flops_cost(false)).bubble),
            " by FLOPs without the head; links cost nothing");
  std::vector<std::string> idle;
  for (const double time : flops.idle)
    idle.push_back(percent(flops.makespan > 0 ? time / flops.makespan : 0));
  print_row("idle", base::join(idle), " by rank, by FLOPs");
}

// A phase of an order ("|" parts them) longer than this shows its ends only.
constexpr std::size_t kMostShown = 14, kShownFirst = 9, kShownLast = 3;

std::string abbreviated(const std::vector<std::string>& phase) {
  if (phase.size() <= kMostShown) return base::join(phase, " ");
  const std::vector<std::string> first(phase.begin(), phase.begin() + kShownFirst);
  const std::vector<std::string> last(phase.end() - kShownLast, phase.end());
  return concat(base::join(first, " "), " ... ", phase.size() - kShownFirst - kShownLast,
                " more ... ", base::join(last, " "));
}

void print_orders(const schedule::Schedule& schedule) {
  std::cout
      << "\norders (F forward, B backward; micro-batch.segment from 1; w forwards to warm up)\n";
  std::istringstream lines(schedule::to_string(schedule));
  for (std::string line; std::getline(lines, line);) {
    const std::size_t start = line.find(':') + 1;
    std::cout << "  " << line.substr(0, start);
    std::istringstream words(line.substr(start));
    std::vector<std::string> phase;
    for (std::string word; words >> word;) {
      if (word != "|") {
        phase.push_back(word);
        continue;
      }
      std::cout << ' ' << abbreviated(phase) << " |";
      phase.clear();
    }
    std::cout << ' ' << abbreviated(phase) << '\n';
  }
}

std::string layers_text(const JobPlan& job, int rank) {
  std::vector<std::string> parts;
  for (const int stage : job.stages_of(rank)) {
    const model::StageLayers layers = job.layers_of(stage);
    if (layers.embedding) parts.emplace_back("embedding");
    if (layers.blocks > 0)
      parts.push_back(concat(layers.blocks, layers.blocks == 1 ? " block" : " blocks"));
    if (layers.head) parts.emplace_back("head");
  }
  return base::join(parts);
}

// A part of the row above.
template <class... Parts>
void print_part(const std::string& name, const Parts&... parts) {
  std::cout << std::string(12, ' ') << std::left << std::setw(13) << name << concat(parts...)
            << "\n";
}

void print_planned(const RankPlan& plan, double live_micro_batches) {
  const auto& parameters = plan.parameters;
  print_row("planned", base::bytes_text(plan.planned_bytes()), " (", plan.planned_bytes(),
            " bytes) in one allocation");
  print_part(
      "parameters", base::bytes_text(parameters.total()), ": weights ",
      base::bytes_text(parameters.weights), ", gradients ", base::bytes_text(parameters.gradients),
      parameters.masters > 0 ? concat(", masters ", base::bytes_text(parameters.masters)) : "",
      ", moments ", base::bytes_text(parameters.moments));
  const std::size_t packed = plan.activations();
  const std::size_t most = std::max(plan.training.live_bytes(), plan.evaluation.live_bytes());
  const double excess = most > 0 ? static_cast<double>(packed) / static_cast<double>(most) - 1 : 0;
  print_part("activations", base::bytes_text(packed), ", with each action's workspace; ",
             base::bytes_text(most), " of it in use at most (packing costs ", percent(excess),
             "), ", std::fixed, std::setprecision(2), live_micro_batches, " micro-batches alive");
  print_part("channels", base::bytes_text(plan.channels), " of messages to and from neighbours");
  if (plan.scratch > 0)
    print_part("operations", base::bytes_text(plan.scratch),
               " of scratch, for the largest of them");
  print_part("step", base::bytes_text(plan.scalars + plan.inputs),
             plan.inputs > 0 ? " of tokens, labels and sums" : " of sums");
}

void print_library(const JobPlan& job, const RankPlan& plan) {
  if (!job.on_cuda())
    return print_row("library",
                     "buffers of MPI, packed copies of BLIS and oneDNN: measured after the first "
                     "step, see the run's logs");
  std::size_t estimated = plan.graph_bytes + plan.cudnn_bytes;
  std::vector<std::string> parts;
  if (plan.graph_bytes > 0)
    parts.push_back(concat("CUDA graphs about ", base::bytes_text(plan.graph_bytes)));
  if (plan.cudnn_bytes > 0)
    parts.push_back(concat("workspace of cuDNN about ", base::bytes_text(plan.cudnn_bytes)));
  print_row("library", parts.empty() ? "" : base::join(parts) + " (estimates, not measured); ",
            "CUDA, cuBLASLt and NCCL: measured after the first step, see the run's logs");
  print_row("device", base::bytes_text(plan.planned_bytes() + estimated),
            " known or estimated of the GPU's memory");
}

void print_memory(const JobPlan& job, const std::vector<RankPlan>& ranks) {
  std::cout
      << "\nmemory by pipeline rank (planned: exact, allocated before the first step; library: "
         "beside it; host: of the processor)\n";
  const std::vector<double> live =
      simulate::peak_live_micro_batches(job.training, job.segment_lengths);
  for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
    const RankPlan& plan = ranks[rank];
    std::cout << "rank " << rank << ": " << layers_text(job, static_cast<int>(rank)) << "\n";
    print_planned(plan, live[rank]);
    print_library(job, plan);
    print_row("host", base::bytes_text(plan.host_bytes), " for samples and checkpoint staging",
              job.on_cuda() ? ", and pinned for uploads and downloads" : "");
    print_row("graphs", plan.training.graphs(), " of ", job.training.orders[rank].size(),
              " actions differ: places repeat after ", plan.training.period(),
              plan.training.period() == 1 ? " micro-batch" : " micro-batches",
              plan.graph_bytes > 0 ? concat("; CUDA graphs of them, and of ",
                                            plan.evaluation.graphs(), " of evaluation")
                                   : "");
  }
}

}  // namespace

int run_plan(const PlanArguments& arguments) {
  for (const auto& [option, path] :
       {std::pair{"--json", arguments.json}, std::pair{"--svg", arguments.svg}})
    if (const std::string problem = base::path_problem(path); !problem.empty())
      throw ConfigError(concat(option, ": ", problem));
  config::Loaded loaded = config::load(arguments.config, arguments.overrides);
  config::resolve(loaded);
  const config::Derived derived =
      config::validate(loaded.config, arguments.world_size, &loaded.origins);
  // A plan needs no data, nor a tokenizer where the configuration knows the vocabulary.
  if (loaded.config.model.vocab_size == 0) train::load_tokenizer(loaded);
  const std::string device_origin = choose_device(loaded);
  config::validate(loaded.config, arguments.world_size, &loaded.origins);
  const JobPlan job = plan::plan_job(loaded.config, derived);
  std::vector<RankPlan> ranks;
  for (int rank = 0; rank < job.training.spec.ranks; ++rank)
    ranks.push_back(plan::plan_rank(job, rank));

  print_schedule(job, device_origin);
  print_orders(job.training);
  print_memory(job, ranks);
  if (!arguments.json.empty()) {
    std::vector<std::size_t> planned;
    for (const RankPlan& rank : ranks) planned.push_back(rank.planned_bytes());
    base::atomic_write_file(arguments.json,
                            schedule::to_json(job.training, job.segment_lengths, planned));
    std::cout << "\nwrote " << arguments.json << "\n";
  }
  if (!arguments.svg.empty()) {
    base::atomic_write_file(arguments.svg,
                            simulate::to_svg(job.training, job.simulated(false), job.title()));
    std::cout << "\nwrote " << arguments.svg << "\n";
  }
  return kExitComplete;
}

}  // namespace seq1f1b::apps
