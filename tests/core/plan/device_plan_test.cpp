// Plans for devices that are not there.
#include <algorithm>

#include "core/config/load.h"
#include "core/plan/knobs.h"
#include "core/plan/rank_plan.h"
#include "kernels/common/errors.h"
#include "kernels/cuda/module.h"
#include "tests/catch.h"
#include "tests/support/harness.h"

namespace seq1f1b::plan {

TEST_CASE("a plan for GPUs needs none: scratch, masters, larger chunks of logits, graphs",
          "[plan]") {
  config::Config config = testing::tiny_config("gpt3");
  config.training.global_batch_size = 16;
  config.schedule.name = "seq1f1b";
  config.schedule.segments = 3;
  config.parallel.pipeline_model_parallel_size = 2;
  config.runtime.device = "cpu";
  const JobPlan host = testing::plan_with(config);
  config.runtime.device = "cuda";
  const JobPlan cuda = testing::plan_with(config);
  CHECK(host.spec.logit_elements < cuda.spec.logit_elements);
  CHECK(cuda.precision.compute == kernels::Dtype::kBf16);
  for (int rank = 0; rank < 2; ++rank) {
    const RankPlan on_host = plan_rank(host, rank), on_cuda = plan_rank(cuda, rank);
    CHECK(on_host.scratch == 0);
    CHECK(on_cuda.host_bytes - on_host.host_bytes == kernels::cuda::kStagingBytes);
    CHECK(on_host.graph_bytes == 0);
    CHECK(on_cuda.scratch > 0);
    CHECK(on_cuda.graph_bytes > 0);
    CHECK(on_cuda.parameters.masters > 0);
    CHECK(on_cuda.planned_bytes() == on_cuda.parameters.total() + on_cuda.scalars + on_cuda.inputs +
                                         on_cuda.channels + on_cuda.scratch +
                                         on_cuda.activations());
  }
  CHECK(fullest_rank_bytes(cuda) ==
        std::max(plan_rank(cuda, 0).needed_bytes(), plan_rank(cuda, 1).needed_bytes()));
  config.runtime.cuda_graphs = "false";
  CHECK(plan_rank(testing::plan_with(config), 0).graph_bytes == 0);
}

// A graph per action would fill a GPU and make every step of a long order slow to begin.
TEST_CASE("shipped configurations need few graphs, of both passes, however long the order",
          "[plan]") {
  for (const std::string name : {"gpt3_124m", "gpt3_2.7b_32k", "llama_1b_16k"})
    for (const char* batches : {"64", "256"}) {
      config::Loaded loaded = config::load(concat(SEQ1F1B_SOURCE_DIR, "/configs/", name, ".yaml"),
                                           {"runtime.device=cuda", "model.vocab_size=50304",
                                            concat("training.global_batch_size=", batches)});
      config::resolve(loaded);
      const JobPlan job = plan_job(loaded.config, config::validate(loaded.config, 0));
      for (int rank = 0; rank < job.training.spec.ranks; ++rank) {
        const RankPlan plan = plan_rank(job, rank);
        INFO(name << ", batch " << batches << ", rank " << rank);
        const int segments = job.training.spec.segments;
        CHECK(plan.training.graphs() == 2 * segments * plan.training.period());
        CHECK(plan.training.period() <= 8);
        CHECK(plan.evaluation.graphs() == segments);
      }
    }
}

}  // namespace seq1f1b::plan
