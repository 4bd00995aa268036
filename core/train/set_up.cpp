#include "core/train/set_up.h"

#include <algorithm>
#include <optional>
#include <span>
#include <utility>

#include "core/base/checksum.h"
#include "core/base/cores.h"
#include "core/plan/knobs.h"
#include "core/runtime/backend_choice.h"
#include "core/train/agreement.h"
#include "kernels/common/errors.h"

namespace seq1f1b::train {

std::unique_ptr<data::Tokenizer> load_tokenizer(config::Loaded& loaded) {
  config::ModelConfig& model = loaded.config.model;
  const config::DataConfig& data = loaded.config.data;
  auto [tokenizer, path] =
      data::find_tokenizer(data.tokenizer == "auto" ? "" : data.tokenizer, data.train);
  if (model.vocab_size == 0) {
    if (!tokenizer)
      throw ConfigError(
          data.train.empty()
              ? "model.vocab_size is 0 (the tokenizer's), but data names no tokenizer: set "
                "model.vocab_size, data.tokenizer or data.train"
              : concat("model.vocab_size is 0 (the tokenizer's), but there is no ",
                       data.train.front(),
                       ".tokenizer.json: correct data.train, or set model.vocab_size or "
                       "data.tokenizer"));
    model.vocab_size = tokenizer->vocab_size();
    loaded.origins["model.vocab_size"] = path;
  }
  if (tokenizer && tokenizer->vocab_size() > model.vocab_size)
    throw ConfigError(concat("model.vocab_size ", model.vocab_size, " is smaller than the ",
                             tokenizer->vocab_size(), " tokens of ", path));
  return std::move(tokenizer);
}

namespace {

// One line for each thing in which tokenizers differ.
std::string lines_of(const data::Tokenizer* tokenizer) {
  if (!tokenizer) return "no tokenizer\n";
  base::Checksum checksum;
  const std::string json = tokenizer->to_json();
  checksum.update(std::as_bytes(std::span(json)));
  return concat("a tokenizer of the kind ", tokenizer->name(), "\na vocabulary of ",
                tokenizer->vocab_size(), " tokens\nan end of document of ",
                tokenizer->token_bytes(tokenizer->end_of_document()),
                " bytes\na tokenizer of the checksum ", checksum.hex(), "\n");
}

}  // namespace

std::unique_ptr<data::Tokenizer> load_tokenizer(config::Loaded& loaded, comm::Group& all) {
  std::unique_ptr<data::Tokenizer> tokenizer;
  agree(all, "loading the tokenizer", [&] { tokenizer = load_tokenizer(loaded); });
  require_equal(
      all, "tokenizer",
      concat(lines_of(tokenizer.get()), "model.vocab_size: ", loaded.config.model.vocab_size, "\n"),
      "read the same files, on a file system that they share or from equal copies");
  return tokenizer;
}

void choose_device(config::Loaded& loaded, comm::Group& all, RunDirectory& directory) {
  const config::RuntimeConfig& runtime = loaded.config.runtime;
  std::string refusal;
  agree(all, "looking for a GPU", [&] {
    if (runtime::may_use_cuda(runtime)) refusal = runtime::cuda_refusal();
  });
  const auto refusals =
      all.all_gather(refusal, [] { return "comparing what the ranks can compute on"; });
  agree(all, "choosing the device", [&] {
    const runtime::DeviceChoice choice = runtime::choose_device(runtime, refusals);
    directory.log(concat("computes on ", choice.device, " (", choice.reason, ")"));
    // Whoever counts on GPUs should not have to look for the reason in a log.
    if (runtime.device == "auto" && choice.device != "cuda")
      directory.show(concat("computes on the CPU: ", choice.reason));
    runtime::apply_choice(choice, loaded);
  });
  if (runtime.device != "cpu") return;
  std::string own;
  agree(all, "choosing the instruction set",
        [&] { own = kernels::cpu_instruction_set(runtime.instruction_set); });
  const auto of_ranks =
      all.all_gather(own, [] { return "comparing the instruction sets of the ranks"; });
  runtime::apply_instruction_sets(of_ranks, loaded);
  if (std::ranges::adjacent_find(of_ranks, std::ranges::not_equal_to()) != of_ranks.end())
    directory.note(concat("computes with ", runtime.instruction_set,
                          ", which every rank has; some have more"));
}

namespace {

// By rank, the processors it may use.
std::vector<base::CoreShare> core_shares(comm::Group& all) {
  return base::share_cores(
      all.all_gather(base::core_set(), [] { return "comparing the cores of the ranks"; }));
}

}  // namespace

Compute connect_compute(const plan::JobPlan& job, comm::World& world, comm::Group& all) {
  const config::RuntimeConfig& runtime = job.config.runtime;
  const auto rank = static_cast<std::size_t>(world.rank());
  const std::vector<base::CoreShare> shares = core_shares(all);
  const auto threads_of = [&](const base::CoreShare& share) {
    return runtime.threads > 0 ? runtime.threads : share.threads();
  };
  const int threads = threads_of(shares[rank]);
  bool shared = std::ranges::any_of(shares, [&](const base::CoreShare& share) {
    return share.processes * threads_of(share) > share.cores;
  });

  std::optional<kernels::Backend> backend;
  agree(all, "setting up the device",
        [&] { backend.emplace(runtime::make_backend(runtime, world.local_rank(), threads)); });
  kernels::Device& device = *backend->device;
  const kernels::cuda::Module* module = runtime::module_of(runtime);
  int sharing = world.local_size();
  if (module) {
    const std::vector<int> ranks = comm::sharing_ranks(world, device, *module);
    sharing = ranks[rank];
    shared = std::ranges::max(ranks) > 1;
  }
  agree(all, "planning the memory of the device", [&] {
    const plan::RankPlan plan =
        plan::plan_rank(job, plan::mesh_of(job).coordinate_of(world.rank()).pp);
    // What is free tells more than what there is: libraries have taken their part, on GPUs.
    const std::size_t free = device.free_bytes();
    plan::require_fits(job, world.rank(), plan.needed_bytes(),
                       {.bytes = free > 0 ? free : device.memory_bytes(), .ranks = sharing});
  });
  auto fabric = comm::connect_devices(world, device, module);
  return {threads, shared, std::move(*backend), std::move(fabric)};
}

void choose_attention(const plan::JobPlan& job, const plan::RankPlan& plan,
                      std::span<std::byte> idle, kernels::Backend& backend, comm::Group& all,
                      RunState& state, RunDirectory& directory) {
  if (job.config.runtime.attention != "auto") return;
  std::vector<std::string> notes;
  if (!state.checkpoint.empty() && !state.attention)
    notes.push_back("attention is chosen now: the checkpoint holds no choice");
  state.attention =
      runtime::choose_attention(job, backend, all, idle, plan.graph_bytes, state.attention, notes);
  notes.push_back("attention by " + runtime::attention_summary(*state.attention));
  for (const std::string& note : notes) directory.note(note);
}

}  // namespace seq1f1b::train
