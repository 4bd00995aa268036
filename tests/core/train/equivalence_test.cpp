// DESIGN's "What is exactly equal to what", as properties over random small models and layouts.
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "core/schedule/partition.h"
#include "core/schedule/validate.h"
#include "kernels/common/errors.h"
#include "tests/catch.h"
#include "tests/core/schedule/hand_made.h"
#include "tests/support/harness.h"

namespace seq1f1b::testing {
namespace {

struct Case {
  config::Config config;
  std::vector<std::int64_t> lengths;
  std::string text;
};

// Models whose sizes divide nothing, and a cut into k segments of any of the three kinds.
Case random_case(std::mt19937& random, int segments) {
  const auto pick = [&](int low, int high) {
    return std::uniform_int_distribution<int>(low, high)(random);
  };
  Case result;
  config::Config& config = result.config;
  config = tiny_config(pick(0, 1) ? "llama" : "gpt3");
  auto& model = config.model;
  model.num_layers = pick(4, 6);
  model.num_query_groups = pick(1, 2);
  model.num_attention_heads = model.num_query_groups * pick(1, 3);
  model.kv_channels = 2 * pick(1, 4);
  model.hidden_size = pick(5, 20);
  model.ffn_hidden_size = pick(3, 30);
  model.tie_embeddings = pick(0, 1) ? "true" : "false";
  model.add_bias_linear = pick(0, 1) ? "true" : "false";
  config.training.micro_batch_size = pick(1, 2);
  config.training.global_batch_size = config.training.micro_batch_size * pick(1, 3);
  config.training.seq_length = pick(9, 33);
  if (model.max_position_embeddings > 0)
    model.max_position_embeddings = static_cast<int>(config.training.seq_length) + pick(0, 3);
  config.training.seed = static_cast<std::uint64_t>(pick(1, 1000));

  const std::int64_t tokens = config.training.seq_length;
  const int kind = pick(0, 2);
  if (kind == 0)
    result.lengths = schedule::partition_even(tokens, segments, 1);
  else if (kind == 1)
    result.lengths = schedule::partition_flops(tokens, segments, 1, {.attention = 3, .linear = 20});
  else {  // odd: one token each but for one segment
    result.lengths.assign(static_cast<std::size_t>(segments), 1);
    result.lengths[static_cast<std::size_t>(pick(0, segments - 1))] += tokens - segments;
  }
  result.text = concat(model.family, " layers ", model.num_layers, " hidden ", model.hidden_size,
                       " heads ", model.num_attention_heads, "/", model.num_query_groups, " x ",
                       model.kv_channels, " tied ", model.tie_embeddings, " bias ",
                       model.add_bias_linear, " micro-batch ", config.training.micro_batch_size,
                       " of ", config.training.global_batch_size, " tokens ", tokens, " cut ");
  for (std::int64_t length : result.lengths) result.text += concat(length, " ");
  return result;
}

plan::JobPlan job_of(const Case& at, const std::string& schedule, int ranks) {
  config::Config config = at.config;
  config.schedule.name = schedule;
  config.schedule.segments = static_cast<int>(at.lengths.size());
  config.schedule.partition = "lengths";
  config.schedule.segment_lengths = at.lengths;
  config.parallel.pipeline_model_parallel_size = ranks;
  return plan_with(config);
}

}  // namespace

TEST_CASE("(a) pipelines of any length and FIFO schedules agree bit for bit", "[equivalence]") {
  std::mt19937 random(20250101);
  for (int segments : {1, 2, 3, 5, 8}) {
    const Case at = random_case(random, segments);
    INFO(at.text);
    const std::vector<std::string> schedules =
        segments == 1 ? std::vector<std::string>{"1f1b", "gpipe", "seq1f1b", "terapipe"}
                      : std::vector<std::string>{"seq1f1b", "terapipe"};
    for (On on : {On::kReferenceFloat, On::kReferenceBf16, On::kCpu}) {
      const Outcome truth = train(job_of(at, schedules.front(), 1), on, 2);
      for (int ranks : {1, 2, 4})
        for (const std::string& schedule : schedules) {
          INFO(schedule << " on " << ranks << " ranks");
          const Outcome other = train(job_of(at, schedule, ranks), on, 2);
          CHECK(other.parameters == truth.parameters);
          CHECK(other.losses == truth.losses);
          CHECK(other.norms == truth.norms);
        }
    }
  }
}

// No generator makes such a schedule; plan, memory, channels and loop take it as any other.
TEST_CASE("(a) several stages per rank agree bit for bit with one", "[equivalence]") {
  std::mt19937 random(31);
  for (int segments : {1, 3}) {
    Case at = random_case(random, segments);
    at.config.model.num_layers = 6;
    INFO(at.text);
    const Outcome truth = train(job_of(at, segments == 1 ? "gpipe" : "terapipe", 1), On::kCpu, 2);
    for (const auto& [ranks, chunks] : {std::pair{2, 2}, {2, 3}, {3, 2}}) {
      INFO(ranks << " ranks of " << chunks << " stages");
      plan::JobPlan job = job_of(at, segments == 1 ? "gpipe" : "terapipe", ranks);
      job.config.parallel.virtual_pipeline_model_parallel_size = chunks;
      const int micro_batches = job.derived.micro_batches;
      job.training = schedule::dealt_chunks(ranks, chunks, micro_batches, segments, true);
      job.evaluation = schedule::dealt_chunks(ranks, chunks, micro_batches, segments, false);
      schedule::require_valid(job.training);
      schedule::require_valid(job.evaluation);
      const Outcome other = train(job, On::kCpu, 2);
      CHECK(other.parameters == truth.parameters);
      CHECK(other.losses == truth.losses);
      CHECK(other.norms == truth.norms);
    }
  }
}

TEST_CASE("(a) chunks, placement and split backwards change no bit", "[equivalence]") {
  config::Config config = tiny_config("llama");
  config.model.num_layers = 4;
  config.training.global_batch_size = 4 * config.training.micro_batch_size;
  config.schedule = {.name = "seq1f1b", .segments = 2, .partition = "even", .segment_lengths = {}};
  config.parallel.pipeline_model_parallel_size = 2;
  const Outcome truth = train(plan_with(config), On::kCpu, 2);
  const auto check = [&](const char* name, int ranks, int chunks) {
    INFO(name << " on " << ranks << " ranks with " << chunks << " chunks");
    config.schedule.name = name;
    config.parallel.pipeline_model_parallel_size = ranks;
    config.parallel.virtual_pipeline_model_parallel_size = chunks;
    const Outcome other = train(plan_with(config), On::kCpu, 2);
    CHECK(other.parameters == truth.parameters);
    CHECK(other.losses == truth.losses);
  };
  check("seq1f1b-i", 2, 2);
  check("seq1f1b-i", 1, 4);
  check("seq1f1b-zb", 4, 1);
}

// Two stages on one rank hand their activations and gradients over in its memory.
TEST_CASE("(a) a V placement changes no bit", "[equivalence]") {
  config::Config config = tiny_config("llama");
  config.model.num_layers = 4;
  config.training.global_batch_size = config.training.micro_batch_size;
  config.parallel.pipeline_model_parallel_size = 2;
  config.schedule = {.name = "seq1f1b", .segments = 2, .partition = "even", .segment_lengths = {}};
  const Outcome truth = train(plan_with(config), On::kCpu, 2);
  const Outcome v = train(plan_with(config,
                                    [](plan::JobPlan& plan) {
                                      plan.training = schedule::v_placement(2, 2);
                                      plan.evaluation = schedule::evaluation_of(plan.training);
                                    }),
                          On::kCpu, 2);
  CHECK(v.parameters == truth.parameters);
  CHECK(v.losses == truth.losses);
}

TEST_CASE("(b) segments change nothing but rounding in fp64", "[equivalence]") {
  std::mt19937 random(7);
  for (int repeat = 0; repeat < 6; ++repeat) {
    const int segments = 2 + repeat;
    Case at = random_case(random, segments);
    // The gradient of a key bias is zero in exact arithmetic (softmax ignores a shift), so Adam
    // would divide rounding noise by rounding noise: a large epsilon keeps it noise.
    at.config.optimizer.adam_eps = 1e-4;
    INFO(at.text);
    Case whole = at;
    whole.lengths = {at.config.training.seq_length};
    const Outcome truth = train(job_of(whole, "1f1b", 1), On::kReference, 2);
    const Outcome split = train(job_of(at, "seq1f1b", 2), On::kReference, 2);
    Tensors a = split.parameters, b = truth.parameters, ga = split.gradients, gb = truth.gradients;
    for (auto* tensors : {&a, &b, &ga, &gb})
      std::erase_if(*tensors, [](const auto& entry) {
        return entry.first.find("attention.key.bias") != std::string::npos;
      });
    const Difference parameters = difference(a, b), gradients = difference(ga, gb);
    INFO("parameters: " << parameters.name << " " << parameters.relative);
    INFO("gradients: " << gradients.name << " " << gradients.relative);
    CHECK(parameters.relative <= 1e-12);
    CHECK(gradients.relative <= 1e-12);
    for (const auto& [name, values] : split.parameters)
      if (name.find("attention.key.bias") != std::string::npos)
        for (std::size_t i = 0; i < values.size(); ++i)
          CHECK(std::abs(values[i] - truth.parameters.at(name)[i]) <= 1e-14);
    for (std::size_t i = 0; i < truth.losses.size(); ++i)
      CHECK(split.losses[i] == Approx(truth.losses[i]).epsilon(1e-13));
  }
}

TEST_CASE("(c) fp32 stays near fp64", "[equivalence]") {
  for (const std::string family : {"gpt3", "llama"}) {
    config::Config config = tiny_config(family);
    config.schedule.name = "seq1f1b";
    config.schedule.segments = 3;
    config.schedule.partition = "even";
    const Outcome truth = train(plan_with(config), On::kReference, 3);
    for (On on : {On::kReferenceFloat, On::kCpu}) {
      const Outcome narrow = train(plan_with(config), on, 3);
      for (std::size_t i = 0; i < truth.losses.size(); ++i)
        CHECK(narrow.losses[i] == Approx(truth.losses[i]).epsilon(1e-5));
    }
  }
}

// Rounding noise of single tokens averages out in the mean over a batch.
TEST_CASE("(c) twenty steps in bf16 stay near fp32", "[equivalence]") {
  for (const std::string family : {"gpt3", "llama"}) {
    config::Config config = tiny_config(family);
    config.schedule.name = "seq1f1b";
    config.schedule.segments = 3;
    config.schedule.partition = "even";
    config.parallel.pipeline_model_parallel_size = 2;
    const Outcome truth = train(plan_with(config), On::kReferenceFloat, 20);
    const Outcome half = train(plan_with(config), On::kReferenceBf16, 20);
    CHECK(truth.losses.front() != half.losses.front());
    for (std::size_t i = 0; i < truth.losses.size(); ++i)
      CHECK(std::abs(half.losses[i] - truth.losses[i]) <= 1e-2);
    // Masters start as the same fp32 values. Key biases say nothing: their gradients are zero but for
    // noise. Biases start at zero, so that all of what they are is 20 updates, each of whose signs
    // and sizes bf16 gradients move; of the other tensors the updates are a small part.
    const auto is_bias = [](const auto& entry) { return entry.first.ends_with(".bias"); };
    const auto is_key_bias = [](const auto& entry) {
      return entry.first.ends_with("attention.key.bias");
    };
    for (const bool biases : {true, false}) {
      Tensors masters = half.parameters, exact = truth.parameters;
      for (auto* tensors : {&masters, &exact})
        std::erase_if(*tensors, [&](const auto& entry) {
          return is_bias(entry) != biases || is_key_bias(entry);
        });
      const Difference worst = difference(masters, exact);
      INFO(family << ": " << worst.name << " " << worst.relative);
      CHECK(worst.relative <= (biases ? 0.15 : 0.05));
    }
  }
}

TEST_CASE("(e) a repeat, with any number of threads, is bit-identical", "[equivalence]") {
  config::Config config = tiny_config("llama");
  config.schedule.name = "seq1f1b";
  config.schedule.segments = 4;
  config.parallel.pipeline_model_parallel_size = 2;
  const Outcome truth = train(plan_with(config), On::kCpu, 2, 1);
  for (int threads : {1, 2, 3}) {
    const Outcome other = train(plan_with(config), On::kCpu, 2, threads);
    CHECK(other.parameters == truth.parameters);
    CHECK(other.losses == truth.losses);
  }
}

}  // namespace seq1f1b::testing
