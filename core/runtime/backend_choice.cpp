#include "core/runtime/backend_choice.h"

#include <algorithm>

#include "core/config/compute_dtype.h"
#include "core/plan/job_plan.h"
#include "kernels/common/errors.h"
#include "kernels/cuda/backend.h"

namespace seq1f1b::runtime {

bool may_use_cuda(const config::RuntimeConfig& runtime) {
  return runtime.device == "auto" || runtime.device == "cuda";
}

void prepare_environment(const config::RuntimeConfig& runtime) {
  if (may_use_cuda(runtime)) kernels::cuda::ask_for_work_queues();
}

std::string cuda_refusal() {
  std::string why;
  return kernels::cuda::device_count(&why) > 0 ? "" : why;
}

std::string wish_for_cuda(const config::RuntimeConfig& runtime) {
  return runtime.device == "cuda"          ? "runtime.device is cuda"
         : runtime.compute_dtype == "bf16" ? "runtime.compute_dtype is bf16"
         : runtime.attention == "cudnn"    ? "runtime.attention is cudnn"
                                           : "";
}

namespace {

// What to add to a command line that asks for a GPU; without it another key would be refused next.
std::string overrides_for_cpu(const config::RuntimeConfig& runtime) {
  const config::RuntimeConfig defaults;
  std::string overrides = " runtime.device=cpu";
  const auto reset = [&](const char* key, const std::string& value, const std::string& standard) {
    if (value != standard) overrides += concat(" runtime.", key, "=", standard);
  };
  if (runtime.compute_dtype != "fp32")
    reset("compute_dtype", runtime.compute_dtype, defaults.compute_dtype);
  if (runtime.attention != "auto") reset("attention", runtime.attention, defaults.attention);
  reset("deterministic", runtime.deterministic, defaults.deterministic);
  reset("cuda_graphs", runtime.cuda_graphs, defaults.cuda_graphs);
  return overrides;
}

}  // namespace

DeviceChoice choose_device(const config::RuntimeConfig& runtime,
                           std::span<const std::string> refusals) {
  if (!may_use_cuda(runtime)) return {runtime.device, "as configured"};
  std::string refusal;
  for (std::size_t rank = 0; rank < refusals.size() && refusal.empty(); ++rank)
    if (!refusals[rank].empty())
      refusal = concat("rank ", rank, " can use no GPU: ", refusals[rank]);
  if (refusal.empty())
    return {"cuda", runtime.device == "auto" ? "every rank can use a GPU" : "as configured"};
  const std::string wish = wish_for_cuda(runtime);
  if (!wish.empty())
    throw ConfigError(concat(wish, ", but ", refusal,
                             ". See what nvidia-smi finds there and what the job was given, or "
                             "compute on the processor with",
                             overrides_for_cpu(runtime)));
  return {"cpu", refusal};
}

void apply_choice(const DeviceChoice& choice, config::Loaded& loaded) {
  config::RuntimeConfig& runtime = loaded.config.runtime;
  if (runtime.device == "auto") {
    runtime.device = choice.device;
    loaded.origins["runtime.device"] = "auto: " + choice.reason;
    if (runtime.device != "cpu" && runtime.instruction_set != "auto") {
      runtime.instruction_set = "auto";
      loaded.origins["runtime.instruction_set"] =
          "auto: of processors, but the device is " + runtime.device;
    }
    // How a GPU would have been used: one configuration serves machines with and without one.
    const config::RuntimeConfig defaults;
    for (const auto& [key, member] :
         {std::pair{"deterministic", &config::RuntimeConfig::deterministic},
          std::pair{"cuda_graphs", &config::RuntimeConfig::cuda_graphs}}) {
      if (runtime.device == "cuda" || runtime.*member == defaults.*member) continue;
      runtime.*member = defaults.*member;
      loaded.origins[std::string("runtime.") + key] =
          "auto: of GPUs, but the device is " + runtime.device;
    }
  }
  if (runtime.attention == "auto" && runtime.device != "cuda") {
    runtime.attention = "own";
    loaded.origins["runtime.attention"] = "auto: " + runtime.device + " has no other";
  }
  if (runtime.compute_dtype == "auto") {
    runtime.compute_dtype = config::compute_dtype(runtime);
    loaded.origins["runtime.compute_dtype"] = "auto: what " + runtime.device + " computes in";
  }
}

void apply_instruction_sets(std::span<const std::string> of_ranks, config::Loaded& loaded) {
  std::string& wanted = loaded.config.runtime.instruction_set;
  if (wanted != "auto") return;
  for (const char* name : kernels::kCpuInstructionSets) {
    const auto rank = std::ranges::find(of_ranks, name);
    if (rank == of_ranks.end()) continue;
    wanted = name;
    loaded.origins["runtime.instruction_set"] =
        concat("auto: the best of rank ", rank - of_ranks.begin());
    return;
  }
}

kernels::Backend make_backend(const config::RuntimeConfig& runtime, int local_rank, int threads) {
  const kernels::Dtype compute = plan::precision_of(runtime).compute;
  if (runtime.device == "reference") return kernels::make_reference_backend(compute);
  if (runtime.device == "cpu") return kernels::make_cpu_backend(threads, runtime.instruction_set);
  SEQ1F1B_ASSERT(runtime.device == "cuda", "no back end for runtime.device ", runtime.device);
  using kernels::cuda::AttentionKernels;
  const AttentionKernels attention = runtime.attention == "cudnn"  ? AttentionKernels::kCudnn
                                     : runtime.attention == "auto" ? AttentionKernels::kAuto
                                                                   : AttentionKernels::kOwn;
  return kernels::cuda::make_cuda_backend({.local_rank = local_rank,
                                           .compute = compute,
                                           .deterministic = runtime.deterministic == "true",
                                           .graphs = runtime.cuda_graphs == "true",
                                           .attention = attention});
}

const kernels::cuda::Module* module_of(const config::RuntimeConfig& runtime) {
  return runtime.device == "cuda" ? kernels::cuda::load_module() : nullptr;
}

}  // namespace seq1f1b::runtime
