#pragma once
// Whole small jobs inside one process: a thread per rank, in-process channels, any back end.
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "core/comm/fabric.h"
#include "core/config/config.h"
#include "core/runtime/rank_runtime.h"
#include "kernels/device.h"

namespace seq1f1b::testing {

enum class On { kReference, kReferenceFloat, kReferenceBf16, kCpu };

// A resolved tiny configuration of one of the families.
config::Config tiny_config(const std::string& family);
// Fills in what config::validate would derive.
config::Derived derived_of(const config::Config& config);

kernels::Backend make_backend(On on, int threads = 1);

// One rank of a job that run_job started.
struct RankContext {
  int rank;
  comm::World& world;
  comm::Fabric& fabric;
  comm::Group& all;
  const plan::JobPlan& job;
  runtime::RankRuntime& runtime;
  kernels::Backend& backend;
};
// Runs `body` on every rank; the first exception of any rank is thrown here. `prepare` sees the
// back end of a rank before anything uses it, to put a device or operations of its own around it.
using Prepare = std::function<void(kernels::Backend& backend, int rank)>;
// `module`: as for connect_devices.
void run_job(const plan::JobPlan& job, On on, const std::function<void(RankContext&)>& body,
             int threads = 1, const Prepare& prepare = {},
             const kernels::cuda::Module* module = nullptr);

// As plan_job, with a schedule that the generators do not know (for split backwards).
plan::JobPlan plan_with(const config::Config& config,
                        const std::function<void(plan::JobPlan&)>& change = {});

// Random tokens of a step that depend on the seed and the step alone.
std::vector<std::int32_t> random_samples(const config::Config& config, std::uint64_t seed,
                                         std::int64_t step);

// A tensor's elements by canonical name; of the owning rank.
using Tensors = std::map<std::string, std::vector<double>>;
struct Outcome {
  Tensors parameters, gradients;  // masters; gradients of the last step, summed over uses
  std::vector<double> losses, norms;
};
// Initialises by (seed, name, element) and runs `steps` steps; on rank 0 their losses and norms are
// added to the outcome.
void run_steps(RankContext& context, int steps, Outcome& outcome);
// The same on every rank of a job, and collects everything.
Outcome train(const plan::JobPlan& job, On on, int steps, int threads = 1,
              const Prepare& prepare = {}, const kernels::cuda::Module* module = nullptr);

// Largest |a - b| / |b| over tensors in the 2-norm, with the name of the worst.
struct Difference {
  double relative = 0;
  std::string name;
};
Difference difference(const Tensors& a, const Tensors& b);

}  // namespace seq1f1b::testing
