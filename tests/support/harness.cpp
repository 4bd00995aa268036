#include "tests/support/harness.h"

#include <cmath>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <thread>

#include "core/parameters/initialise.h"
#include "core/train/step.h"
#include "kernels/common/philox.h"
#include "kernels/common/widen.h"
#include "kernels/ops.h"

namespace seq1f1b::testing {

config::Config tiny_config(const std::string& family) {
  config::Config config;
  auto& model = config.model;
  const bool llama = family == "llama";
  model.family = family;
  model.num_layers = 4;
  model.hidden_size = 16;
  model.num_attention_heads = 4;
  model.num_query_groups = llama ? 2 : 4;
  model.kv_channels = 4;
  model.ffn_hidden_size = 24;
  model.vocab_size = 37;
  model.normalization = llama ? "rmsnorm" : "layernorm";
  model.position_embedding = llama ? "rotary" : "learned";
  model.activation = llama ? "swiglu" : "gelu";
  model.add_bias_linear = llama ? "false" : "true";
  model.tie_embeddings = llama ? "false" : "true";
  config.training.seq_length = 23;
  model.max_position_embeddings = llama ? 0 : 23;
  config.training.global_batch_size = 4;
  config.training.train_iters = 4;
  config.optimizer.lr = 1e-3;
  config.schedule.segments = 1;
  config.schedule.name = "1f1b";
  return config;
}

config::Derived derived_of(const config::Config& config) {
  config::Derived derived;
  derived.world_size = config.parallel.pipeline_model_parallel_size;
  derived.micro_batches = config.training.global_batch_size / config.training.micro_batch_size;
  derived.tokens_per_step = config.training.global_batch_size * config.training.seq_length;
  return derived;
}

kernels::Backend make_backend(On on, int threads) {
  switch (on) {
    case On::kReference:
      return kernels::make_reference_backend(kernels::Dtype::kF64);
    case On::kReferenceFloat:
      return kernels::make_reference_backend(kernels::Dtype::kF32);
    case On::kReferenceBf16:
      return kernels::make_reference_backend(kernels::Dtype::kBf16);
    case On::kCpu:
      return kernels::make_cpu_backend(threads);
  }
  std::abort();
}

plan::JobPlan plan_with(const config::Config& config,
                        const std::function<void(plan::JobPlan&)>& change) {
  plan::JobPlan job = plan::plan_job(config, derived_of(config));
  if (change) change(job);
  return job;
}

void run_job(const plan::JobPlan& planned, On on, const std::function<void(RankContext&)>& body,
             int threads, const Prepare& prepare, const kernels::cuda::Module* module) {
  plan::JobPlan job = planned;
  const auto accumulate = on == On::kReference ? kernels::Dtype::kF64 : kernels::Dtype::kF32;
  job.precision = {on == On::kReferenceBf16 ? kernels::Dtype::kBf16 : accumulate, accumulate};
  const int ranks = job.training.spec.ranks;
  auto worlds = comm::make_in_process_worlds(ranks);
  std::mutex mutex;
  std::exception_ptr failure;
  std::vector<std::thread> team;
  for (int rank = 0; rank < ranks; ++rank)
    team.emplace_back([&, rank] {
      comm::World& world = *worlds[static_cast<std::size_t>(rank)];
      try {
        const auto all = world.make_group(comm::everyone(world));
        kernels::Backend backend = make_backend(on, threads);
        if (prepare) prepare(backend, rank);
        const auto fabric = comm::connect_devices(world, *backend.device, module);
        runtime::RankRuntime runtime(job, backend, *fabric);
        RankContext context{rank, world, *fabric, *all, job, runtime, backend};
        body(context);
      } catch (...) {
        {
          const std::lock_guard lock(mutex);
          if (!failure) failure = std::current_exception();
        }
        try {
          world.abort(1);
        } catch (...) {  // it never returns: in process it throws, to end this rank
        }
      }
    });
  for (std::thread& member : team) member.join();
  if (failure) std::rethrow_exception(failure);
}

std::vector<std::int32_t> random_samples(const config::Config& config, std::uint64_t seed,
                                         std::int64_t step) {
  const auto count = static_cast<std::size_t>(config.training.global_batch_size *
                                              (config.training.seq_length + 1));
  std::vector<std::int32_t> samples(count);
  for (std::size_t i = 0; i < count; ++i)
    samples[i] =
        static_cast<std::int32_t>(kernels::philox(seed, i, static_cast<std::uint64_t>(step))[0] %
                                  static_cast<std::uint32_t>(config.model.vocab_size));
  return samples;
}

namespace {

std::vector<double> values_of(const kernels::Tensor& tensor, kernels::Device& device) {
  std::vector<std::byte> host(tensor.bytes());
  device.download(host.data(), tensor.data, host.size());
  std::vector<double> values(static_cast<std::size_t>(tensor.elements()));
  kernels::widen(tensor.dtype, host.data(), values);
  return values;
}

}  // namespace

void run_steps(RankContext& context, int steps, Outcome& outcome) {
  const config::Config& config = context.job.config;
  parameters::initialise(context.runtime.store(), config.training.seed, *context.backend.device,
                         *context.backend.ops);
  train::Step step(context.job, context.runtime, context.fabric);
  for (int number = 1; number <= steps; ++number) {
    const auto samples = random_samples(config, 7, number);
    const train::StepResult result = step.run(samples, number, config.optimizer.lr);
    if (context.rank != 0) continue;
    outcome.losses.push_back(result.loss);
    outcome.norms.push_back(result.grad_norm);
  }
}

Outcome train(const plan::JobPlan& job, On on, int steps, int threads, const Prepare& prepare,
              const kernels::cuda::Module* module) {
  Outcome outcome;
  std::mutex mutex;
  run_job(
      job, on,
      [&](RankContext& context) {
        run_steps(context, steps, outcome);
        const std::lock_guard lock(mutex);
        const auto& store = context.runtime.store();
        for (const auto& row : store.layout().rows()) {
          if (!row.has_first_use) continue;
          outcome.parameters[row.info.name] =
              values_of(store.parameter(row), *context.backend.device);
          outcome.gradients[row.info.name] =
              values_of(store.gradient(row), *context.backend.device);
        }
      },
      threads, prepare, module);
  return outcome;
}

Difference difference(const Tensors& a, const Tensors& b) {
  Difference worst;
  for (const auto& [name, reference] : b) {
    const std::vector<double>& other = a.at(name);
    double error = 0, norm = 0;
    for (std::size_t i = 0; i < reference.size(); ++i) {
      error += (other[i] - reference[i]) * (other[i] - reference[i]);
      norm += reference[i] * reference[i];
    }
    const double relative = error == 0 ? 0 : std::sqrt(error / norm);
    if (!(relative <= worst.relative)) worst = {relative, name};
  }
  return worst;
}

}  // namespace seq1f1b::testing
