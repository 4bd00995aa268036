// A forward whose keys are dealt to several blocks, on the emulated device: the same result as by
// one block, and from a scratch of exactly the planned size, poisoned with NaN.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "kernels/common/bf16.h"
#include "kernels/cuda/attention/attention.h"
#include "kernels/cuda/attention/attention_rows.h"
#include "kernels/cuda/attention/attention_sm80.h"
#include "kernels/cuda/attention/scratch_attention.h"
#include "kernels/simt/address_sanitizer.h"
#include "tests/catch.h"

namespace seq1f1b::kernels::cuda {
namespace {

struct Problem {
  int tokens, heads, kv_heads, head_dim, query_start;
  bool documents;
};

struct Result {
  std::vector<float> output, log_sum_exp;
};

// Default-initialised bf16 rows with normal draws, aligned for the kernels' 16-byte accesses.
struct alignas(16) Packet {
  Bf16 values[8];
};
std::vector<Packet> draws(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<Packet> packets(count / 8);
  for (Packet& packet : packets)
    for (Bf16& value : packet.values) value = Bf16(normal(random));
  return packets;
}

Result forward(const Problem& p, int multiprocessors) {
  const int key_length = p.query_start + p.tokens;
  const auto size = [](int a, int b, int c) {
    return static_cast<std::size_t>(a) * static_cast<std::size_t>(b) * static_cast<std::size_t>(c);
  };
  const std::size_t queries = size(p.tokens, p.heads, p.head_dim);
  const auto query = draws(queries, 1);
  const auto key = draws(size(key_length, p.kv_heads, p.head_dim), 2);
  const auto value = draws(size(key_length, p.kv_heads, p.head_dim), 3);
  std::vector<Packet> output(queries / 8);
  Result result;
  result.log_sum_exp.resize(size(p.tokens, p.heads, 1));
  std::vector<std::int32_t> starts;
  for (int i = 0; i < p.tokens; ++i) starts.push_back((p.query_start + i) / 400 * 400);

  AttentionShape shape;
  shape.micro_batch = 1;
  shape.tokens = p.tokens;
  shape.heads = p.heads;
  shape.kv_heads = p.kv_heads;
  shape.head_dim = p.head_dim;
  shape.capacity = shape.key_length = key_length;
  shape.query_start = p.query_start;
  shape.document_start = p.documents ? starts.data() : nullptr;
  shape.scale = 1 / std::sqrt(static_cast<float>(p.head_dim));
  ScratchShape plan;
  plan.tokens = p.tokens;
  plan.heads = p.heads;
  plan.head_dim = p.head_dim;
  std::vector<float> scratch(attention_forward_scratch(plan) / sizeof(float),
                             std::numeric_limits<float>::quiet_NaN());
  Context context;
  context.multiprocessors = multiprocessors;
  context.scratch =
      Scratch(reinterpret_cast<std::byte*>(scratch.data()), scratch.size() * sizeof(float));
  REQUIRE(attention_sm80_forward(context, {shape, query.data(), key.data(), value.data(),
                                           output.data(), result.log_sum_exp.data()}));
  check(cudaDeviceSynchronize(), "running");
  for (const Packet& packet : output)
    for (const Bf16 value_out : packet.values)
      result.output.push_back(static_cast<float>(value_out));
  return result;
}

}  // namespace

TEST_CASE("attention by several blocks per tile equals attention by one") {
  // The second: with documents of 400 most of the prefix is seen by nobody. The third: 150 queries
  // are two tiles, whose parts differ in length. The last two: a document begins among the queries,
  // of which some see nothing of most parts; and with them, so that there are more parts than
  // tiles.
  const Problem problems[] = {
      {40, 2, 1, 64, 1500, false}, {40, 2, 1, 128, 1500, true}, {150, 1, 1, 128, 1000, false},
      {33, 1, 1, 256, 900, false}, {20, 3, 1, 88, 700, false},  {40, 1, 1, 64, 1590, true},
      {20, 1, 1, 64, 2400, true},
  };
  for (const Problem& p : problems) {
    INFO("head_dim " << p.head_dim << ", tokens " << p.tokens << ", documents " << p.documents);
    const AttentionTuning& tuning = tuning_of(kForwardTuning, p.head_dim);
    const int tiles = (p.tokens + tuning.rows() - 1) / tuning.rows() * p.heads;
    REQUIRE(attention_splits(tiles, (p.query_start + p.tokens) / tuning.step, 132) > 1);
    const Result one = forward(p, 1), several = forward(p, 132), again = forward(p, 132);
    CHECK(std::memcmp(several.output.data(), again.output.data(),
                      several.output.size() * sizeof(float)) == 0);
    double worst = 0, worst_statistic = 0;
    for (std::size_t i = 0; i < one.output.size(); ++i) {
      const double difference = std::abs(one.output[i] - several.output[i]);
      if (!(difference <= worst)) worst = difference;  // a NaN stays
    }
    for (std::size_t i = 0; i < one.log_sum_exp.size(); ++i) {
      const double difference = std::abs(one.log_sum_exp[i] - several.log_sum_exp[i]);
      if (!(difference <= worst_statistic)) worst_statistic = difference;
    }
    // Outputs are below 1/4: two roundings to bf16 apart, and the rounding of the probabilities,
    // which depends on the maximum of the part.
    CHECK(worst <= 4.0 / 1024);
    CHECK(worst_statistic <= 1e-5);
  }
}

// A block takes more rows than there are here.
TEST_CASE("delta is written for the rows that exist alone") {
  constexpr int kTokens = 3, kDim = 40;
  const auto output = draws(8 * kDim, 1), grad_output = draws(8 * kDim, 2);
  AttentionBackward call{};
  call.shape.micro_batch = call.shape.heads = call.shape.kv_heads = 1;
  call.shape.tokens = kTokens;
  call.shape.head_dim = kDim;
  call.output = output.data();
  call.grad_output = grad_output.data();
  std::vector<float> delta(8, -7);
  Context context;
  attention_delta(context, call, Dtype::kBf16, delta.data());
  check(cudaDeviceSynchronize(), "running");
  for (std::size_t i = 0; i < delta.size(); ++i) {
    double expected = i < kTokens ? 0 : -7;
    for (std::size_t c = i * kDim; i < kTokens && c < (i + 1) * kDim; ++c)
      expected += static_cast<double>(static_cast<float>(output[c / 8].values[c % 8])) *
                  static_cast<float>(grad_output[c / 8].values[c % 8]);
    CHECK(delta[i] == Approx(expected).epsilon(1e-5));
  }
}

// A step has more queries than there are, and 72 columns are padded to 80: what is beyond adds
// zeros, which would turn the -0 behind the sums into 0.
TEST_CASE("the one-pass backward adds to nothing but its sums") {
  constexpr std::size_t kTokens = 20, kDim = 72, kHeads = 2, kElements = kTokens * kDim * kHeads;
  constexpr std::size_t kUsed = 64 + kElements, kMargin = 8192;  // delta, in a whole piece; sums
  std::vector<std::vector<Packet>> operands;
  for (unsigned seed = 1; seed <= 5; ++seed) operands.push_back(draws(kElements, seed));
  const std::vector<float> log_sum_exp(kTokens * kHeads, 3);
  std::vector<Packet> grad_query(kElements / 8);
  std::vector<float> grad_key(kElements), grad_value(kElements);
  float* scratch = nullptr;  // the device's, as it is cleared by the runtime
  check(cudaMalloc(reinterpret_cast<void**>(&scratch), (kUsed + kMargin) * sizeof(float)),
        "memory");
  std::fill_n(scratch, kUsed + kMargin, -0.0f);

  AttentionBackward call{};
  call.shape.micro_batch = 1;
  call.shape.tokens = call.shape.capacity = call.shape.key_length = kTokens;
  call.shape.heads = call.shape.kv_heads = kHeads;
  call.shape.head_dim = kDim;
  call.shape.scale = 0.125f;
  call.grad_output = operands[0].data();
  call.query = operands[1].data();
  call.key = operands[2].data();
  call.value = operands[3].data();
  call.output = operands[4].data();
  call.log_sum_exp = log_sum_exp.data();
  call.grad_query = grad_query.data();
  call.grad_key = grad_key.data();
  call.grad_value = grad_value.data();
  Context context;
  context.deterministic = false;
  context.scratch =
      Scratch(reinterpret_cast<std::byte*>(scratch), (kUsed + kMargin) * sizeof(float));
  REQUIRE(attention_sm80_backward(context, call));
  check(cudaDeviceSynchronize(), "running");
  // Under the address sanitizer the sums lie elsewhere, between red zones.
  CHECK((scratch[kUsed - 1] != 0) != seq1f1b::testing::kAddressSanitizer);
  CHECK(std::all_of(scratch + kUsed, scratch + kUsed + kMargin,
                    [](float value) { return value == 0 && std::signbit(value); }));
  check(cudaFree(scratch), "freeing");
}

// The kernels' own sums begin at whole packets, and this takes any.
TEST_CASE("sums are scaled and rounded wherever they begin") {
  constexpr std::size_t kCount = 19;
  std::vector<float> sums(kCount + 2);
  for (std::size_t i = 0; i < sums.size(); ++i) sums[i] = 0.37f * static_cast<float>(i) - 3;
  for (const std::size_t first : {0, 1, 2}) {
    std::vector<Bf16> rounded(kCount + 2, Bf16(-7.0f));
    Context context;
    attention_round(context, sums.data() + first, kCount, 0.5f, rounded.data() + first);
    check(cudaDeviceSynchronize(), "running");
    for (std::size_t i = 0; i < rounded.size(); ++i) {
      const bool inside = i >= first && i < first + kCount;
      CHECK(static_cast<float>(rounded[i]) ==
            static_cast<float>(Bf16(inside ? sums[i] * 0.5f : -7.0f)));
    }
  }
}

}  // namespace seq1f1b::kernels::cuda
