// Whole training jobs in one process on the emulated CUDA device, a thread per rank: what they
// allocate against the plan, what they record, and what is exactly equal to what.
#include <filesystem>
#include <fstream>
#include <iterator>
#include <mutex>

#include "core/checkpoint/parameters_io.h"
#include "core/parameters/initialise.h"
#include "core/train/checkpoint_json.h"
#include "core/train/step.h"
#include "kernels/cuda/module.h"
#include "kernels/cuda/nccl_communicator.h"
#include "kernels/ops.h"
#include "kernels/simt/emulated_backend.h"
#include "tests/catch.h"
#include "tests/kernels/cuda/fake_nccl/fake_nccl.h"
#include "tests/support/harness.h"
#include "tests/support/large_mallocs.h"

namespace seq1f1b::testing {
namespace {

namespace fs = std::filesystem;

config::Config emulated_config(const std::string& family, int ranks, const std::string& compute) {
  config::Config config = tiny_config(family);
  config.model.num_layers = 2;
  config.training.global_batch_size = 3;
  config.model.num_attention_heads = 2;
  config.model.num_query_groups = family == "llama" ? 1 : 2;
  config.model.kv_channels = 8;
  config.training.seq_length = 24;
  if (family == "gpt3") config.model.max_position_embeddings = 24;
  config.schedule.name = "seq1f1b";
  config.schedule.segments = 3;
  config.schedule.partition = "even";
  config.parallel.pipeline_model_parallel_size = ranks;
  config.runtime.device = "cuda";
  config.runtime.compute_dtype = compute;
  return config;
}

Prepare emulated(const config::Config& config, bool graphs = true) {
  const auto compute = plan::precision_of(config.runtime).compute;
  return [=](kernels::Backend& backend, int) {
    kernels::Backend made = simt::make_emulated_backend({.compute = compute, .graphs = graphs});
    backend.name = made.name;
    backend.compute = made.compute;
    backend.accumulate = made.accumulate;
    backend.ops = std::move(made.ops);
    backend.device = std::move(made.device);
  };
}
On precision(const config::Config& config) {
  return config.runtime.compute_dtype == "bf16" ? On::kReferenceBf16 : On::kReferenceFloat;
}

Outcome train_emulated(const config::Config& config, bool graphs = true) {
  return train(plan_with(config), precision(config), 2, 1, emulated(config, graphs));
}

void check_equal(const Outcome& a, const Outcome& b) {
  CHECK(a.parameters == b.parameters);
  CHECK(a.losses == b.losses);
  CHECK(a.norms == b.norms);
}

std::string contents(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

// The tensor files of a checkpoint by name.
std::map<std::string, std::string> tensor_files(const std::string& checkpoint) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::directory_iterator(checkpoint))
    if (entry.path().extension() == ".safetensors")
      files[entry.path().filename()] = contents(entry.path());
  return files;
}

// Loads `from` (empty: initialises), runs `steps` steps, saves into `run`; what was saved.
std::string go_on(const config::Config& config, On on, const Prepare& prepare,
                  const std::string& from, int steps, const std::string& run) {
  std::string path;
  std::mutex mutex;
  run_job(
      plan_with(config), on,
      [&](RankContext& context) {
        const auto& store = context.runtime.store();
        if (from.empty()) {
          parameters::initialise(store, 11, *context.backend.device, *context.backend.ops);
        } else {
          checkpoint::Reader reader(from);
          checkpoint::load_parameters(reader, store, *context.backend.device, *context.backend.ops);
        }
        train::Step step(context.job, context.runtime, context.fabric);
        for (int number = 1; number <= steps; ++number)
          step.run(random_samples(config, 3, number), number, 1e-3);
        checkpoint::Writer writer(run, 7, context.all);
        checkpoint::save_parameters(writer, store, *context.backend.device);
        checkpoint::TrainingState state;
        state.step = 7;
        state.model_json = train::model_json(config.model);
        const std::string saved = writer.commit(state, {}, 0, 0);
        const std::lock_guard lock(mutex);
        path = saved;
      },
      1, prepare);
  return path;
}

}  // namespace

TEST_CASE("a job allocates on the emulated device what was planned, to the byte", "[memory]") {
  for (const std::string family : {"gpt3", "llama"})
    for (const std::string compute : {"bf16", "fp32"}) {
      const config::Config config = emulated_config(family, 2, compute);
      const plan::JobPlan job = plan_with(config);
      std::size_t planned = 0;
      for (int rank = 0; rank < 2; ++rank) planned += plan::plan_rank(job, rank).planned_bytes();
      const std::size_t before = simt::emulated_memory().allocated;
      simt::reset_emulated_peak();
      train_emulated(config);
      INFO(family << " in " << compute << ": planned " << planned);
      CHECK(simt::emulated_memory().peak - before == planned);
      CHECK(simt::emulated_memory().allocated == before);
    }
}

TEST_CASE("before the first step everything is made, for evaluation too", "[memory]") {
  const config::Config config = emulated_config("gpt3", 2, "bf16");
  const plan::JobPlan job = plan_with(config);
  const auto body = [&](RankContext& context) {
    const auto& plan = context.runtime.plan();
    const auto expected =
        static_cast<std::size_t>(plan.training.graphs() + plan.evaluation.graphs());
    const std::size_t at_first = context.backend.device->graphs().count;
    parameters::initialise(context.runtime.store(), 1, *context.backend.device,
                           *context.backend.ops);
    train::Step step(context.job, context.runtime, context.fabric);
    const auto samples = random_samples(config, 1, 1);
    context.all.barrier([] { return "begin"; });
    const long allocations = simt::emulated_memory().allocations;
    context.all.barrier([] { return "counting"; });
    step.run(samples, 1, 1e-3);
    if (context.rank == 0) start_counting_large_mallocs();
    context.all.barrier([] { return "end of the first step"; });
    for (int number = 2; number <= 3; ++number) {
      step.run(samples, number, 1e-3);
      context.runtime.evaluate_pass(samples, number);
    }
    context.all.barrier([] { return "end"; });
    if (context.rank != 0) return;  // checks are not for several threads at once
    const LargeMallocs found = stop_counting_large_mallocs();
    INFO("largest " << found.largest << " bytes");
    CHECK(found.count == 0);
    CHECK(simt::emulated_memory().allocations == allocations);
    CHECK(at_first == expected);
    CHECK(context.backend.device->graphs().count == expected);
  };
  run_job(job, precision(config), body, 1, emulated(config));
}

TEST_CASE("(a), (e) on the emulated device layouts, schedules and records change no bit",
          "[equivalence]") {
  const Outcome truth = train_emulated(emulated_config("gpt3", 1, "bf16"));
  check_equal(train_emulated(emulated_config("gpt3", 1, "bf16"), false), truth);
  config::Config config = emulated_config("gpt3", 2, "bf16");
  check_equal(train_emulated(config), truth);
  config.schedule.name = "terapipe";
  check_equal(train_emulated(config), truth);
  check_equal(train_emulated(emulated_config("llama", 2, "fp32")),
              train_emulated(emulated_config("llama", 1, "fp32")));
}

// Actions recorded and replayed beside messages on streams of their own, in whatever order these
// happen to run: what does not wait for what it needs shows in the bits.
TEST_CASE("(a) over NCCL's stand-in training has the bits of one rank", "[equivalence]") {
  using namespace kernels;
  cuda::Module nccl{};
  nccl.identity = [](const Device& device) { return cuda::DeviceIdentity{concat(&device)}; };
  nccl.make_communicator_id = cuda::make_communicator_id;
  nccl.make_communicator = cuda::make_communicator;
  for (const int ranks : {2, 3}) {
    config::Config config = emulated_config("gpt3", ranks, "bf16");
    config.model.num_layers = 3;
    const Outcome found =
        train(plan_with(config), precision(config), 2, 1, emulated(config), &nccl);
    config.parallel.pipeline_model_parallel_size = 1;
    check_equal(found, train_emulated(config));
  }
  const NcclCounts counts = nccl_counts();
  CHECK(counts.made > 0);
  CHECK(counts.destroyed == counts.made);
  CHECK(counts.misused == 0);
}

TEST_CASE("(d) checkpoints go from the processor to a GPU in bf16 and back byte for byte",
          "[checkpoint]") {
  const std::string folder = std::string(SEQ1F1B_BINARY_DIR) + "/simt_training_test";
  fs::remove_all(folder);
  const config::Config config = emulated_config("llama", 2, "bf16");
  config::Config host = emulated_config("llama", 1, "fp32");
  host.runtime.device = "cpu";
  const std::string by_cpu = go_on(host, On::kCpu, {}, "", 2, folder + "/a");
  const std::string loaded =
      go_on(config, precision(config), emulated(config), by_cpu, 0, folder + "/b");
  CHECK(tensor_files(by_cpu) == tensor_files(loaded));
  const std::string by_gpu =
      go_on(config, precision(config), emulated(config), loaded, 2, folder + "/c");
  CHECK(tensor_files(by_gpu) != tensor_files(loaded));
  const std::string back = go_on(host, On::kCpu, {}, by_gpu, 0, folder + "/d");
  CHECK(tensor_files(by_gpu) == tensor_files(back));
  CHECK(tensor_files(back).size() > 3);
  fs::remove_all(folder);
}

}  // namespace seq1f1b::testing
