#pragma once
// Which device a run computes on, and the back end for it.
#include <span>
#include <string>

#include "core/config/load.h"
#include "kernels/cuda/module.h"
#include "kernels/device.h"

namespace seq1f1b::runtime {

// Whether the configuration leaves room for a GPU: only then one is looked for.
bool may_use_cuda(const config::RuntimeConfig& runtime);
// What has to be in the environment for one, before the world starts its threads.
void prepare_environment(const config::RuntimeConfig& runtime);
// Why this process cannot use a GPU; empty: it can.
std::string cuda_refusal();

// What in the configuration nothing but a GPU does, e.g. "runtime.compute_dtype is bf16"; empty:
// nothing.
std::string wish_for_cuda(const config::RuntimeConfig& runtime);

struct DeviceChoice {
  std::string device;  // cuda | cpu | reference
  std::string reason;  // for the log, e.g. "rank 1 can use no GPU: no driver"
};
// `refusals`: cuda_refusal() of every rank, so that all choose alike. Throws ConfigError when the
// configuration asks for what is not there. Pure.
DeviceChoice choose_device(const config::RuntimeConfig& runtime,
                           std::span<const std::string> refusals);
// Writes the choice over the "auto" of device and compute_dtype, and of attention where there is
// nothing to choose; the reason is their origin. Where auto is no GPU, what says how one would be
// used is back at its default.
void apply_choice(const DeviceChoice& choice, config::Loaded& loaded);

// Writes the least of the ranks' instruction sets (kernels::cpu_instruction_set) over "auto", so that
// no bit depends on which rank computes what.
void apply_instruction_sets(std::span<const std::string> of_ranks, config::Loaded& loaded);

// `runtime` is resolved. `local_rank`: among the ranks of this node; picks the GPU. `threads`: of
// the processor's back end.
kernels::Backend make_backend(const config::RuntimeConfig& runtime, int local_rank, int threads);
// The module that made it; null but for cuda.
const kernels::cuda::Module* module_of(const config::RuntimeConfig& runtime);

}  // namespace seq1f1b::runtime
