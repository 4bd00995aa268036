// What the launchers of kernels/cuda/kernels.h promise beyond Ops: sums whose order does not depend
// on the size of the device, scratch by formula, and nothing worse than NaN for wrong tokens. On
// the emulated device, whose default stream works on host memory at once.
#include <cmath>
#include <cstring>
#include <deque>
#include <functional>
#include <vector>

#include "kernels/common/bf16.h"
#include "kernels/common/philox.h"
#include "kernels/cuda/kernels.h"
#include "kernels/cuda/scratch_pointwise.h"
#include "tests/catch.h"

namespace seq1f1b::kernels::cuda {
namespace {

// Memory of one launch. Everything is drawn anew, so that every object has the same contents.
class Bench {
 public:
  explicit Bench(int multiprocessors) { context.multiprocessors = multiprocessors; }
  Context context;

  // Exactly this much, full of NaN.
  void give_scratch(std::size_t bytes) {
    scratch_.assign(bytes, std::byte{0xFF});
    context.scratch = Scratch(scratch_.data(), bytes);
  }
  Tensor draws(Dtype dtype, std::initializer_list<std::int64_t> dims) {
    Tensor tensor(nullptr, dtype, dims);
    auto& bytes = memory_.emplace_back(tensor.bytes());
    tensor.data = bytes.data();
    for (std::int64_t i = 0; i < tensor.elements(); ++i) {
      const auto value =
          static_cast<float>(philox_normal(memory_.size(), static_cast<unsigned>(i)));
      if (dtype == Dtype::kBf16)
        tensor.as<Bf16>()[i] = Bf16(value);
      else
        tensor.as<float>()[i] = value;
    }
    return tensor;
  }
  Tensor integers(const std::vector<std::int32_t>& values,
                  std::initializer_list<std::int64_t> dims) {
    auto& bytes = memory_.emplace_back(values.size() * sizeof(std::int32_t));
    std::memcpy(bytes.data(), values.data(), bytes.size());
    return Tensor(bytes.data(), Dtype::kI32, dims);
  }
  // All memory but scratch, after the work.
  std::vector<std::vector<std::byte>> finish() {
    check(cudaDeviceSynchronize(), "running");
    return {memory_.begin(), memory_.end()};
  }

 private:
  std::vector<std::byte> scratch_;
  std::deque<std::vector<std::byte>> memory_;
};

void same_on_any_device(const std::function<void(Bench&)>& body) {
  std::vector<std::vector<std::byte>> first;
  for (int multiprocessors : {1, 3, 132}) {
    Bench bench(multiprocessors);
    body(bench);
    const auto found = bench.finish();
    if (first.empty()) first = found;
    INFO(multiprocessors << " multiprocessors");
    CHECK(found == first);
  }
}

}  // namespace

TEST_CASE("sums do not depend on the number of multiprocessors and keep to their scratch",
          "[pointwise]") {
  for (Dtype dtype : {Dtype::kF32, Dtype::kBf16}) {
    // 4099 columns: rows that begin anywhere, and weight gradients kept in scratch.
    for (const std::int64_t width : {8, 264, 4099})
      same_on_any_device([&](Bench& bench) {
        constexpr std::int64_t kRows = 70;
        const Tensor input = bench.draws(dtype, {kRows, width}),
                     grad = bench.draws(dtype, {kRows, width});
        const Tensor weight = bench.draws(dtype, {width}),
                     output = bench.draws(dtype, {kRows, width});
        const Tensor statistics = bench.draws(Dtype::kF32, {kRows, 2});
        const Tensor grad_weight = bench.draws(Dtype::kF32, {width});
        const Tensor grad_bias = bench.draws(Dtype::kF32, {width});
        bench.give_scratch(0);
        norm_forward(bench.context, NormKind::kLayerNorm, input, weight, {}, 1e-5, output,
                     statistics);
        bench.give_scratch(norm_backward_scratch_bytes(kRows, width));
        norm_backward(bench.context, NormKind::kLayerNorm, grad, input, statistics, weight, {},
                      output, grad_weight, grad_bias);
        bench.give_scratch(bias_grad_scratch_bytes(kRows, width));
        bias_grad(bench.context, grad, grad_bias);
      });
    same_on_any_device([&](Bench& bench) {
      std::vector<std::int32_t> words;
      for (std::int32_t i = 0; i < 300; ++i) words.push_back(i * i % 7);
      bench.give_scratch(embedding_backward_scratch_bytes(7));
      embedding_backward(bench.context, bench.integers(words, {2, 150}),
                         bench.draws(dtype, {2, 150, 24}), 1, bench.draws(Dtype::kF32, {7, 24}),
                         bench.draws(Dtype::kF32, {151, 24}));
    });
    same_on_any_device([&](Bench& bench) {
      std::vector<std::int32_t> labels;
      for (std::int32_t i = 0; i < 40; ++i) labels.push_back(i * 17);
      double sums[2] = {0, 0.5};
      bench.give_scratch(cross_entropy_scratch_bytes(40));
      cross_entropy(bench.context, bench.draws(dtype, {40, 1000}), bench.integers(labels, {40}),
                    &sums[1], true, &sums[0]);
      const Tensor input = bench.draws(Dtype::kF32, {50000}), kept = bench.draws(Dtype::kF32, {4});
      bench.give_scratch(sum_of_squares_scratch_bytes(50000));
      sum_of_squares(bench.context, input, &sums[1]);
      check(cudaDeviceSynchronize(), "running");
      std::memcpy(kept.data, sums, sizeof sums);
    });
  }
}

TEST_CASE("tokens outside the vocabulary give NaN and touch nothing", "[pointwise]") {
  for (Dtype dtype : {Dtype::kF32, Dtype::kBf16}) {
    Bench bench(2);
    const Tensor tokens = bench.integers({1, -1, 5, 2}, {1, 4});
    const Tensor weight = bench.draws(dtype, {5, 8}), output = bench.draws(dtype, {1, 4, 8});
    embedding_forward(bench.context, tokens, weight, {}, 0, output);
    const Tensor grad_weight = bench.draws(Dtype::kF32, {5, 8});
    const std::vector<float> before(grad_weight.as<float>(), grad_weight.as<float>() + 40);
    bench.give_scratch(embedding_backward_scratch_bytes(5));
    embedding_backward(bench.context, tokens, bench.draws(dtype, {1, 4, 8}), 0, grad_weight, {});

    const Tensor logits = bench.draws(dtype, {2, 5});
    double scale = 1, loss_sum = 0;
    bench.give_scratch(cross_entropy_scratch_bytes(2));
    cross_entropy(bench.context, logits, bench.integers({0, 5}, {2}), &scale, true, &loss_sum);
    bench.finish();

    const auto value = [](const Tensor& tensor, std::int64_t i) {
      return tensor.dtype == Dtype::kBf16 ? static_cast<float>(tensor.as<Bf16>()[i])
                                          : tensor.as<float>()[i];
    };
    for (std::int64_t i = 0; i < 32; ++i)
      CHECK(std::isnan(value(output, i)) == (i / 8 == 1 || i / 8 == 2));
    for (std::int64_t i = 0; i < 40; ++i) {
      const bool met = i / 8 == 1 || i / 8 == 2;
      CHECK((grad_weight.as<float>()[i] != before[static_cast<std::size_t>(i)]) == met);
    }
    CHECK(std::isnan(loss_sum));
    for (std::int64_t i = 5; i < 10; ++i) CHECK(value(logits, i) == 0);
  }
}

}  // namespace seq1f1b::kernels::cuda
