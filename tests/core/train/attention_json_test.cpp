// The choice of runtime.attention: auto as it is written and read back.
#include "core/train/checkpoint_json.h"
#include "kernels/common/errors.h"
#include "tests/catch.h"

namespace seq1f1b::train {
namespace {

using kernels::AttentionProvider;

runtime::AttentionChoice example() {
  runtime::AttentionChoice choice;
  choice.circumstances = {.device = "NVIDIA \"H100\"",
                          .compute_dtype = "bf16",
                          .deterministic = false,
                          .micro_batch_size = 2};
  choice.lengths = {
      {.tokens = 64, .keys = 64, .own_seconds = 1.0 / 3, .library_seconds = 0.5, .refusal = ""},
      {.tokens = 32,
       .keys = 96,
       .provider = AttentionProvider::kLibrary,
       .own_seconds = 2e-6,
       .library_seconds = 1e-6,
       .refusal = ""},
      {.tokens = 32, .keys = 128, .refusal = "rank 3: it\ndoes not fit"}};
  return choice;
}

std::string complaint(const std::string& extra) {
  try {
    attention_of_extra(extra);
  } catch (const DataError& error) {
    return error.what();
  }
  return "read";
}

}  // namespace

TEST_CASE("a choice of attention comes back from a checkpoint as it was", "[attention]") {
  const config::Config config;
  const runtime::AttentionChoice choice = example();
  const std::string extra = extra_json(config, Evaluation{.loss = 2.5}, choice);
  CHECK(attention_of_extra(extra) == choice);
  CHECK(evaluation_of_extra(extra)->loss == 2.5);
  CHECK(attention_of_extra(extra_json(config, {})) == std::nullopt);
  CHECK(attention_of_extra("") == std::nullopt);
  const std::string text = attention_json(choice);
  for (const char* part :
       {"\"kernels\": \"own\"", "\"kernels\": \"cudnn\"", "\"cudnn_seconds\": 0.5", "\"keys\": 96",
        "\"cudnn_refusal\": \"rank 3: it\\ndoes not fit\""})
    CHECK(text.find(part) != std::string::npos);
}

TEST_CASE("a choice of attention that is not understood is refused in words", "[attention]") {
  CHECK(complaint(R"({"attention": {"device": "x"}})")
            .starts_with("the checkpoint's choice of attention is not understood: "));
  CHECK(complaint(R"({"attention": {"device": "x", "compute_dtype": "bf16", "deterministic": true,
    "micro_batch_size": 1, "lengths": [{"tokens": 8, "keys": 8, "kernels": "triton"}]}})") ==
        "the checkpoint's choice of attention is not understood: kernels \"triton\"; set "
        "runtime.attention to own or cudnn");
  CHECK(complaint(R"({"attention": 3})").ends_with("set runtime.attention to own or cudnn"));
}

}  // namespace seq1f1b::train
