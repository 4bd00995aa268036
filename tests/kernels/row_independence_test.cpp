// A token's activations and input gradients have the same bits alone and in company, so sampling
// one token at a time repeats what a whole segment computes (common rules of kernels/ops.h).
#include <cmath>
#include <cstring>
#include <vector>

#include "kernels/common/philox.h"
#include "kernels/cpu/cpu_ops.h"
#include "tests/catch.h"

namespace seq1f1b::kernels::testing {
namespace {

// fp32 draws that own their memory.
struct Draws {
  std::vector<float> values;
  Tensor tensor;

  Draws(std::initializer_list<std::int64_t> shape, std::uint64_t key)
      : tensor(nullptr, Dtype::kF32, shape) {
    values.resize(static_cast<std::size_t>(tensor.elements()));
    for (std::size_t i = 0; i < values.size(); ++i)
      values[i] = static_cast<float>(philox_normal(key, i));
    tensor.data = values.data();
  }
  // The rows [first, first + count) of `all`, `width` floats each.
  bool equals_rows(const Draws& all, std::int64_t first, std::int64_t width) const {
    return std::memcmp(values.data(), all.values.data() + first * width,
                       values.size() * sizeof(float)) == 0;
  }
};

// View of the rows [first, ...) of a tensor in another shape.
Tensor rows_of(const Draws& all, std::int64_t first, std::int64_t width,
               std::initializer_list<std::int64_t> shape) {
  return Tensor(const_cast<float*>(all.values.data()) + first * width, Dtype::kF32, shape);
}

constexpr std::int64_t kRows = 200;

}  // namespace

TEST_CASE("linear rows do not depend on the other rows of the call", "[linear]") {
  struct Shape {
    std::int64_t in, out;
  };
  // Depths below, at and above the blocks that the libraries cut the depth into.
  const std::vector<Shape> shapes{{1, 5},    {48, 300},  {100, 70},   {192, 576}, {256, 256},
                                  {257, 96}, {768, 768}, {1024, 256}, {4096, 64}};
  for (cpu::Isa isa : cpu::kAllIsas) {
    if (!cpu::isa_available(isa)) continue;
    const auto ops = cpu::make_cpu_ops(2, isa);
    for (const auto& [in, out] : shapes) {
      const Draws input({kRows, in}, 1), weight({out, in}, 2), bias({out}, 3),
          residual({kRows, out}, 4);
      const Draws grad_output({kRows, out}, 5), output({kRows, out}, 6), grad_input({kRows, in}, 7);
      ops->linear_forward(input.tensor, weight.tensor, bias.tensor, residual.tensor, output.tensor);
      ops->linear_input_grad(grad_output.tensor, weight.tensor, grad_input.tensor);
      for (std::int64_t count : {1, 2, 3, 5, 8, 15, 16, 17, 33, 64, 65, 128, 129, 143})
        for (std::int64_t first : {std::int64_t{0}, kRows - count}) {
          INFO(cpu::isa_name(isa) << ", " << count << " rows from " << first << ", " << in << " to "
                                  << out);
          const Draws part({count, out}, 8), grad_part({count, in}, 9);
          ops->linear_forward(rows_of(input, first, in, {count, in}), weight.tensor, bias.tensor,
                              rows_of(residual, first, out, {count, out}), part.tensor);
          CHECK(part.equals_rows(output, first, out));
          ops->linear_input_grad(rows_of(grad_output, first, out, {count, out}), weight.tensor,
                                 grad_part.tensor);
          CHECK(grad_part.equals_rows(grad_input, first, in));
        }
    }
  }
}

TEST_CASE("attention rows do not depend on the other rows of the call", "[attention]") {
  constexpr std::int64_t kHeads = 4, kKvHeads = 2, kStart = 150, kLength = kStart + kRows;
  for (cpu::Isa isa : cpu::kAllIsas) {
    if (!cpu::isa_available(isa)) continue;
    const auto ops = cpu::make_cpu_ops(2, isa);
    for (std::int64_t head_dim : {32, 40, 64, 128})
      for (bool documents : {false, true}) {
        const std::int64_t width = kHeads * head_dim;
        const Draws query({1, kRows, kHeads, head_dim}, 1),
            key({1, kKvHeads, kLength, head_dim}, 2), value({1, kKvHeads, kLength, head_dim}, 3),
            grad_output({1, kRows, kHeads, head_dim}, 4);
        const Draws output({1, kRows, kHeads, head_dim}, 5),
            grad_query({1, kRows, kHeads, head_dim}, 6), log_sum_exp({1, kHeads, kRows}, 7),
            grad_key({1, kKvHeads, kLength, head_dim}, 8),
            grad_value({1, kKvHeads, kLength, head_dim}, 9);
        std::vector<std::int32_t> starts(kRows);
        for (std::int64_t i = 0; i < kRows; ++i)
          starts[static_cast<std::size_t>(i)] =
              documents ? static_cast<std::int32_t>((kStart + i) / 70 * 70) : 0;
        const auto compute = [&](std::int64_t first, std::int64_t count, const Draws& o,
                                 const Draws& lse, const Draws& dq) {
          const AttentionRange range{kStart + first, 0, kStart + first + count,
                                     starts.data() + first};
          const double scale = 1 / std::sqrt(static_cast<double>(head_dim));
          const Tensor q = rows_of(query, first, width, {1, count, kHeads, head_dim});
          ops->attention_forward(q, key.tensor, value.tensor, range, scale, o.tensor, lse.tensor);
          ops->attention_backward(rows_of(grad_output, first, width, {1, count, kHeads, head_dim}),
                                  q, key.tensor, value.tensor, o.tensor, lse.tensor, range, scale,
                                  dq.tensor, grad_key.tensor, grad_value.tensor,
                                  Accumulate::kOverwrite);
        };
        compute(0, kRows, output, log_sum_exp, grad_query);
        for (std::int64_t count : {1, 5, 64, 131})
          for (std::int64_t first : {std::int64_t{0}, std::int64_t{47}, kRows - count}) {
            INFO(cpu::isa_name(isa) << ", " << count << " rows from " << first << ", head_dim "
                                    << head_dim << ", documents " << documents);
            const Draws part({1, count, kHeads, head_dim}, 10), lse({1, kHeads, count}, 11),
                grad_part({1, count, kHeads, head_dim}, 12);
            compute(first, count, part, lse, grad_part);
            CHECK(part.equals_rows(output, first, width));
            CHECK(grad_part.equals_rows(grad_query, first, width));
          }
      }
  }
}

}  // namespace seq1f1b::kernels::testing
