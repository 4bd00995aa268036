// What the launchers of kernels/cuda/kernels.h promise beyond Ops: sums whose order does not depend
// on the size of the device, scratch by formula, and nothing worse than NaN for wrong tokens. On
// the emulated device, whose default stream works on host memory at once.
#include <algorithm>
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

  // Exactly this much, full of NaN, between margins that nobody may write.
  void give_scratch(std::size_t bytes) {
    check_margins();
    scratch_.assign(bytes + 2 * kMargin, kUntouched);
    std::fill_n(scratch_.begin() + kMargin, bytes, std::byte{0xFF});
    context.scratch = Scratch(scratch_.data() + kMargin, bytes);
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
    check_margins();
    return {memory_.begin(), memory_.end()};
  }

 private:
  static constexpr int kMargin = 8192;
  static constexpr std::byte kUntouched{0x7F};  // a large integer: atomics would change it, too
  void check_margins() const {
    const auto untouched = [](std::byte b) { return b == kUntouched; };
    if (scratch_.empty()) return;
    CHECK(std::all_of(scratch_.begin(), scratch_.begin() + kMargin, untouched));
    CHECK(std::all_of(scratch_.end() - kMargin, scratch_.end(), untouched));
  }
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
    const bool same = found == first;  // too much to be printed
    CHECK(same);
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
    const Tensor tokens = bench.integers({1, -1, 1000, 2}, {1, 4});
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

TEST_CASE("work on elements does not depend on the number of multiprocessors", "[pointwise]") {
  for (Dtype dtype : {Dtype::kF32, Dtype::kBf16})
    same_on_any_device([&](Bench& bench) {
      constexpr std::int64_t kCount = 70000;  // more than one multiprocessor's blocks take at once
      const Tensor input = bench.draws(dtype, {kCount}), output = bench.draws(dtype, {kCount});
      const Tensor copied = bench.draws(dtype, {kCount});
      const Tensor sum = bench.draws(Dtype::kF32, {kCount}), wide = bench.draws(dtype, {2, kCount});
      copy(bench.context, input, copied);
      swiglu_forward(bench.context, wide, output);
      gelu_forward(bench.context, output, output);
      accumulate(bench.context, sum, sum);
      fill(bench.context, input, 3);
    });
}

TEST_CASE("tokens behind a segment's are not its", "[pointwise]") {
  std::vector<std::vector<std::byte>> first;
  for (std::int32_t behind : {-1, 3}) {
    Bench bench(132);
    std::vector<std::int32_t> words(600, behind);
    for (std::int32_t i = 0; i < 290; ++i) words[static_cast<std::size_t>(i)] = i % 7;
    const Tensor tokens = bench.integers(words, {600});
    const Tensor segment(tokens.data, Dtype::kI32, {1, 290});
    const Tensor grad_output = bench.draws(Dtype::kF32, {600, 8});
    const Tensor grad_weight = bench.draws(Dtype::kF32, {7, 8});
    bench.give_scratch(embedding_backward_scratch_bytes(7));
    embedding_backward(bench.context, segment, Tensor(grad_output.data, Dtype::kF32, {1, 290, 8}),
                       0, grad_weight, {});
    auto found = bench.finish();
    found.erase(found.begin());  // the words
    if (first.empty()) first = found;
    CHECK(found == first);
  }
}

// More shares than the block that adds them has threads.
TEST_CASE("a sum of squares of millions of elements", "[pointwise]") {
  constexpr std::int64_t kCount = 300 * 16384 + 7;
  std::vector<float> values(kCount);
  double expected = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<float>(i % 4);
    expected += values[i] * values[i];  // exact
  }
  Bench bench(132);
  bench.give_scratch(sum_of_squares_scratch_bytes(kCount));
  double sum = -1;
  sum_of_squares(bench.context, Tensor(values.data(), Dtype::kF32, {kCount}), &sum);
  bench.finish();
  CHECK(sum == expected);
}

TEST_CASE("operations on no rows do nothing", "[pointwise]") {
  for (Dtype dtype : {Dtype::kF32, Dtype::kBf16}) {
    Bench bench(132);
    const Tensor weight = bench.draws(dtype, {8}), words = bench.draws(dtype, {5, 8});
    const Tensor sums = bench.draws(Dtype::kF32, {8}),
                 grad_words = bench.draws(Dtype::kF32, {5, 8});
    double loss_sum = 0.5;
    const double scale = 1;
    AdamWParams step;
    const auto before = bench.finish();
    const Tensor rows(weight.data, dtype, {0, 8}), wide(weight.data, dtype, {0, 16});
    const Tensor statistics(weight.data, Dtype::kF32, {0, 2});
    const Tensor labels(weight.data, Dtype::kI32, {0}), tokens(weight.data, Dtype::kI32, {0, 4});
    Context& context = bench.context;
    fill(context, rows, 1);
    copy(context, rows, rows);
    cast(context, statistics, Tensor(weight.data, Dtype::kBf16, {0, 2}));
    accumulate(context, statistics, statistics);
    norm_forward(context, NormKind::kLayerNorm, rows, weight, {}, 1e-5, rows, statistics);
    norm_apply(context, NormKind::kLayerNorm, rows, statistics, weight, {}, rows);
    norm_backward(context, NormKind::kLayerNorm, rows, rows, statistics, weight, {}, rows, sums,
                  sums);
    bias_grad(context, rows, sums);
    gelu_forward(context, rows, rows);
    swiglu_forward(context, wide, rows);
    swiglu_backward(context, wide, rows, wide);
    embedding_forward(context, tokens, words, {}, 0, rows);
    embedding_backward(context, tokens, rows, 0, grad_words, {});
    cross_entropy(context, rows, labels, &scale, true, &loss_sum);
    adamw(context, {}, &step);
    const Rotary rotary{2, false, 10000};
    const Tensor projected(weight.data, dtype, {1, 0, 12}), query(weight.data, dtype, {1, 0, 1, 4});
    const Tensor carry(words.data, dtype, {1, 1, 2, 4});
    const Tensor grad_carry(grad_words.data, Dtype::kF32, {1, 1, 2, 4});
    split_qkv_rope(context, projected, 0, rotary, query, carry, carry);
    split_qkv_rope_backward(context, query, grad_carry, grad_carry, 0, rotary, projected);
    CHECK(bench.finish() == before);
    CHECK(loss_sum == 0.5);
  }
}

}  // namespace seq1f1b::kernels::cuda
