#include "kernels/cuda/scratch.h"

#include <random>

#include "kernels/cuda/attention/scratch_attention.h"
#include "kernels/cuda/linear/scratch_linear.h"
#include "kernels/cuda/scratch_pointwise.h"
#include "tests/catch.h"

namespace seq1f1b::kernels::cuda {
namespace {

// About GPT-3 2.7B; the last stage has the head.
ScratchShape example() {
  ScratchShape shape;
  shape.micro_batch = 2;
  shape.tokens = 4096;
  shape.seq_length = 16384;
  shape.hidden = 2560;
  shape.ffn_in = 10240;
  shape.vocab = 50304;
  shape.heads = shape.kv_heads = 32;
  shape.head_dim = 80;
  shape.logit_rows = 2048;
  shape.largest_tensor = shape.vocab * shape.hidden;
  return shape;
}

}  // namespace

TEST_CASE("scratch holds every operation of every segment up to the longest") {
  const ScratchShape shape = example();
  const std::size_t bytes = scratch_bytes(shape);
  std::mt19937_64 random(7);
  for (int draw = 0; draw < 20000; ++draw) {
    ScratchShape part = shape;
    part.tokens =
        1 + static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(shape.tokens));
    part.micro_batch = 1 + static_cast<std::int64_t>(random() % 2);
    const std::int64_t rows = part.micro_batch * part.tokens;
    const auto elements =
        static_cast<std::int64_t>(1 + random() % static_cast<std::uint64_t>(shape.largest_tensor));
    REQUIRE(attention_scratch(part) <= bytes);
    REQUIRE(linear_scratch(part) <= bytes);
    REQUIRE(norm_backward_scratch_bytes(rows, shape.hidden) <= bytes);
    REQUIRE(bias_grad_scratch_bytes(rows, shape.ffn_in) <= bytes);
    REQUIRE(bias_grad_scratch_bytes(rows, 96 * shape.head_dim) <= bytes);
    REQUIRE(sum_of_squares_scratch_bytes(elements) <= bytes);
  }
  CHECK(embedding_backward_scratch_bytes(shape.vocab) <= bytes);
  CHECK(cross_entropy_scratch_bytes(shape.logit_rows) <= bytes);
}

TEST_CASE("scratch holds the gradients that cuDNN leaves of all keys") {
  ScratchShape shape = example();
  shape.cudnn = true;
  const std::size_t both = std::size_t{2} * 2 * 32 * 16384 * 80 * 2;
  CHECK(scratch_bytes(shape) >= both);
  CHECK(scratch_bytes(shape) < both + kGemmWorkspaceBytes);
  CHECK(cudnn_workspace_estimate(shape, 4096, 16384) == std::size_t{2} * 32 * 4096 * 16384 * 2);
  shape.deterministic = false;
  CHECK(cudnn_workspace_estimate(shape, 4096, 16384) == 0);
}

TEST_CASE("where a length may go to either attention scratch serves both") {
  ScratchShape shape = example();
  shape.deterministic = false;
  const std::size_t own = scratch_bytes(shape);
  shape.cudnn = true;
  CHECK(scratch_bytes(shape) > own);  // as many key heads as heads
  shape.kv_heads = 1;
  CHECK(scratch_bytes(shape) == own);
}

TEST_CASE("scratch is the largest need, not the sum of all") {
  ScratchShape shape = example();
  const std::size_t bytes = scratch_bytes(shape);
  CHECK(bytes >= kGemmWorkspaceBytes);
  CHECK(bytes < 2 * kGemmWorkspaceBytes);
  // Sums in any order keep a gradient of all queries in fp32.
  shape.deterministic = false;
  CHECK(scratch_bytes(shape) >= std::size_t{2} * 4096 * 2560 * sizeof(float));
}

}  // namespace seq1f1b::kernels::cuda
