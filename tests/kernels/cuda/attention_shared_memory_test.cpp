// Attention where a block gets less shared memory than on compute capability 8.0, on the emulated
// device: the same results, by the kernels that fit, or a refusal in words.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "kernels/common/bf16.h"
#include "kernels/common/errors.h"
#include "kernels/ops.h"
#include "kernels/simt/emulated_backend.h"
#include "tests/catch.h"

namespace seq1f1b::kernels::cuda {
namespace {

constexpr int kTokens = 37, kHeads = 2, kKeys = 150;

// As device memory, aligned for accesses of 16 bytes.
struct alignas(16) Packet {
  Bf16 values[8];
};

// output, grad_query, grad_key, grad_value of draws that depend on head_dim alone.
std::vector<std::vector<float>> results(int architecture, int head_dim, bool deterministic) {
  // What making the back end sets.
  struct Restored {
    ~Restored() { setenv("SEQ1F1B_SIMT_ARCH", "80", 1); }
  } restored;
  simt::EmulatedOptions options;
  options.compute = Dtype::kBf16;
  options.architecture = architecture;
  options.deterministic = deterministic;
  options.graphs = false;
  Backend backend = simt::make_emulated_backend(options);
  DeviceBuffer scratch(*backend.device, std::size_t{8} << 20);
  backend.ops->use_scratch(scratch.data(), scratch.bytes());
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  std::vector<std::vector<Packet>> memory;
  const auto compute = [&](std::initializer_list<std::int64_t> dims) {
    Tensor tensor(nullptr, Dtype::kBf16, dims);
    memory.emplace_back(static_cast<std::size_t>(tensor.elements() / 8));
    for (Packet& packet : memory.back())
      for (Bf16& value : packet.values) value = Bf16(normal(random));
    tensor.data = memory.back().data();
    return tensor;
  };
  memory.reserve(16);
  const Tensor query = compute({1, kTokens, kHeads, head_dim});
  const Tensor key = compute({1, 1, kKeys, head_dim}), value = compute({1, 1, kKeys, head_dim});
  const Tensor grad_output = compute({1, kTokens, kHeads, head_dim});
  const Tensor output = compute({1, kTokens, kHeads, head_dim});
  const Tensor grad_query = compute({1, kTokens, kHeads, head_dim});
  std::vector<float> statistic(kHeads * kTokens);
  // Twice as many bf16 numbers take the bytes of fp32 ones.
  const auto gradient = [&] {
    return Tensor(compute({2, 1, kKeys, head_dim}).data, Dtype::kF32, {1, 1, kKeys, head_dim});
  };
  const Tensor grad_key = gradient(), grad_value = gradient();
  const AttentionRange range{kKeys - kTokens, 0, kKeys, nullptr};
  const double scale = 1 / std::sqrt(static_cast<double>(head_dim));
  const Tensor log_sum_exp(statistic.data(), Dtype::kF32, {1, kHeads, kTokens});
  backend.ops->attention_forward(query, key, value, range, scale, output, log_sum_exp);
  backend.ops->attention_backward(grad_output, query, key, value, output, log_sum_exp, range, scale,
                                  grad_query, grad_key, grad_value, Accumulate::kOverwrite);
  backend.device->synchronize();
  std::vector<std::vector<float>> all;
  for (const Tensor& tensor : {output, grad_query, grad_key, grad_value}) {
    std::vector<float>& one = all.emplace_back();
    for (std::int64_t i = 0; i < tensor.elements(); ++i)
      one.push_back(tensor.dtype == Dtype::kF32 ? tensor.as<float>()[i]
                                                : static_cast<float>(tensor.as<Bf16>()[i]));
  }
  return all;
}

}  // namespace

TEST_CASE("attention with the shared memory of 8.6 and 8.9 equals that of 8.0") {
  for (const int head_dim : {64, 80, 96, 128, 176})
    for (const bool deterministic : {true, false}) {
      const auto expected = results(80, head_dim, deterministic);
      const auto got = results(86, head_dim, deterministic);
      for (std::size_t r = 0; r < expected.size(); ++r) {
        float largest = 0, worst = 0;
        for (std::size_t i = 0; i < expected[r].size(); ++i) {
          largest = std::max(largest, std::abs(expected[r][i]));
          const float difference = std::abs(expected[r][i] - got[r][i]);
          if (!(difference <= worst)) worst = difference;  // a NaN stays
        }
        INFO("head_dim " << head_dim << ", deterministic " << deterministic << ", result " << r);
        CHECK(worst <= largest / 64);
      }
    }
}

TEST_CASE("attention too wide for the shared memory is refused in words") {
  std::string message;
  try {
    results(89, 256, true);
  } catch (const ConfigError& error) {
    message = error.what();
  }
  CHECK(message.find("attention of head dimension 256 takes") == 0);
  CHECK(message.find("this GPU gives 101376") != std::string::npos);
}

}  // namespace seq1f1b::kernels::cuda
