#include "core/runtime/backend_choice.h"

#include "core/config/load.h"
#include "kernels/common/errors.h"
#include "tests/catch.h"
#include "tests/support/harness.h"

namespace seq1f1b::runtime {
namespace {

using Refusals = std::vector<std::string>;

std::string refusal_of(const config::RuntimeConfig& runtime, const Refusals& refusals) {
  try {
    choose_device(runtime, refusals);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "chosen";
}

}  // namespace

TEST_CASE("auto is a GPU where every rank can use one, else the processor", "[runtime]") {
  const config::RuntimeConfig runtime;  // auto
  DeviceChoice choice = choose_device(runtime, Refusals{"", "", ""});
  CHECK(choice.device == "cuda");
  CHECK(choice.reason == "every rank can use a GPU");
  choice = choose_device(runtime, Refusals{"", "no driver", "no device"});
  CHECK(choice.device == "cpu");
  CHECK(choice.reason == "rank 1 can use no GPU: no driver");
  for (const char* device : {"cpu", "reference"}) {
    config::RuntimeConfig fixed;
    fixed.device = device;
    CHECK_FALSE(may_use_cuda(fixed));
    CHECK(choose_device(fixed, Refusals{"", ""}).device == device);
  }
}

TEST_CASE("what needs a GPU is refused with the reason where there is none", "[runtime]") {
  config::RuntimeConfig runtime;
  runtime.device = "cuda";
  CHECK(choose_device(runtime, Refusals{"", ""}).device == "cuda");
  CHECK(refusal_of(runtime, {"", "no driver"}) ==
        "runtime.device is cuda, but rank 1 can use no GPU: no driver. See what nvidia-smi finds "
        "there and what the job was given, or compute on the processor with runtime.device=cpu");
  runtime.device = "auto";
  runtime.compute_dtype = "bf16";
  CHECK(choose_device(runtime, Refusals{""}).device == "cuda");
  CHECK(
      refusal_of(runtime, {"no driver"}).starts_with("runtime.compute_dtype is bf16, but rank 0"));
  runtime.compute_dtype = "auto";
  runtime.attention = "cudnn";
  CHECK(refusal_of(runtime, {"no driver"}).starts_with("runtime.attention is cudnn, but rank 0"));
  runtime.attention = "auto";
  CHECK(choose_device(runtime, Refusals{"no driver"}).device == "cpu");
}

TEST_CASE("the way out to the processor is a configuration that it takes", "[runtime]") {
  config::RuntimeConfig runtime;
  runtime.device = "cuda";
  runtime.compute_dtype = "bf16";
  runtime.attention = "cudnn";
  runtime.deterministic = runtime.cuda_graphs = "false";
  const std::string refusal = refusal_of(runtime, {"no driver"});
  const std::string with = " with ";
  CHECK(refusal.substr(refusal.rfind(with) + with.size()) ==
        "runtime.device=cpu runtime.compute_dtype=auto runtime.attention=own "
        "runtime.deterministic=true runtime.cuda_graphs=true");
}

TEST_CASE("the choice replaces auto, and says where it comes from", "[runtime]") {
  config::Loaded loaded;
  apply_choice({"cuda", "every rank can use a GPU"}, loaded);
  CHECK(loaded.config.runtime.device == "cuda");
  CHECK(loaded.config.runtime.compute_dtype == "bf16");
  CHECK(loaded.origins.at("runtime.device") == "auto: every rank can use a GPU");
  CHECK(loaded.origins.at("runtime.compute_dtype") == "auto: what cuda computes in");

  // What only says how a GPU would be used does not keep a job from running without one.
  for (const char* device : {"cuda", "cpu"}) {
    config::Loaded open;
    open.config.runtime.deterministic = open.config.runtime.cuda_graphs = "false";
    apply_choice({device, "a reason"}, open);
    const std::string expected = device == std::string("cuda") ? "false" : "true";
    CHECK(open.config.runtime.deterministic == expected);
    CHECK(open.config.runtime.cuda_graphs == expected);
    CHECK(open.origins.contains("runtime.cuda_graphs") == (expected == "true"));
  }
  loaded.config.runtime.attention = "auto";  // a GPU has something to choose, the processor not
  apply_choice({"cuda", "every rank can use a GPU"}, loaded);
  CHECK(loaded.config.runtime.attention == "auto");
  loaded.config.runtime.device = "cpu";
  apply_choice({"cpu", "as configured"}, loaded);
  CHECK(loaded.config.runtime.attention == "own");
  CHECK(loaded.origins.at("runtime.attention") == "auto: cpu has no other");

  config::Loaded fixed;
  fixed.config.runtime.device = "cpu";
  fixed.config.runtime.compute_dtype = "fp32";
  apply_choice({"cpu", "as configured"}, fixed);
  CHECK(fixed.origins.empty());
  CHECK(fixed.config.runtime.compute_dtype == "fp32");
}

TEST_CASE("ranks on different processors compute with what all of them have", "[runtime]") {
  const std::vector<std::string> sets{"avx512", "avx2", "avx512"};
  config::Loaded loaded;
  apply_instruction_sets(sets, loaded);
  CHECK(loaded.config.runtime.instruction_set == "avx2");
  CHECK(loaded.origins.at("runtime.instruction_set") == "auto: the best of rank 1");

  config::Loaded fixed;
  fixed.config.runtime.instruction_set = "baseline";
  apply_instruction_sets(sets, fixed);
  CHECK(fixed.config.runtime.instruction_set == "baseline");
  CHECK(fixed.origins.empty());

  // It says nothing of a GPU.
  fixed.config.runtime.device = "auto";
  apply_choice({"cuda", "every rank can use a GPU"}, fixed);
  CHECK(fixed.config.runtime.instruction_set == "auto");
}

TEST_CASE("back ends are made as configured", "[runtime]") {
  config::RuntimeConfig runtime;
  runtime.device = "reference";
  runtime.compute_dtype = "bf16";
  kernels::Backend backend = make_backend(runtime, 0, 1);
  CHECK(backend.name == "reference");
  CHECK(backend.compute == kernels::Dtype::kBf16);
  CHECK(module_of(runtime) == nullptr);
  runtime.device = "cpu";
  runtime.compute_dtype = "fp32";
  CHECK(make_backend(runtime, 0, 1).name == "cpu");
  runtime.device = "auto";
  CHECK_THROWS_AS(make_backend(runtime, 0, 1), InternalError);  // not chosen yet
}

}  // namespace seq1f1b::runtime
