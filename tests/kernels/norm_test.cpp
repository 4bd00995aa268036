#include "tests/catch.h"
#include "tests/kernels/bench.h"

namespace seq1f1b::kernels::testing {
namespace {

struct Shape {
  std::int64_t rows, width;
};
constexpr double kEpsilon = 1e-5;

}  // namespace

TEST_CASE("norm forward, apply and backward", "[norm]") {
  // Rows narrower than this have gradients that cancel to almost nothing.
  for (const Shape& s : {Shape{1, 5}, Shape{1, 7}, Shape{13, 37}, Shape{67, 517}, Shape{1300, 65}})
    for (NormKind kind : {NormKind::kLayerNorm, NormKind::kRmsNorm})
      for (bool with_bias : {true, false}) {
        if (with_bias && kind == NormKind::kRmsNorm) continue;
        INFO("rows " << s.rows << ", width " << s.width << ", layernorm "
                     << (kind == NormKind::kLayerNorm) << ", bias " << with_bias);
        on_every_back_end([&](Run& run) {
          // A mean as large as the deviation: one-pass variances would lose digits.
          const Tensor input = run.input({s.rows, s.width}, 1, 1.5, 2);
          const Tensor weight = run.input({s.width}, 2, 0.2, 1);
          const Tensor bias = with_bias ? run.input({s.width}, 3) : Tensor{};
          const Tensor output = run.output({s.rows, s.width});
          const Tensor statistics = run.output({s.rows, 2}, Role::kAccumulate);
          run.ops.norm_forward(kind, input, weight, bias, kEpsilon, output, statistics);
          run.result("output", output, s.width);
          run.result("statistics", statistics, s.width);

          const Tensor grad_output = run.input({s.rows, s.width}, 4);
          const Tensor grad_residual = run.inout({s.rows, s.width}, 5);
          const Tensor grad_input = run.output({s.rows, s.width});
          const Tensor grad_weight = run.inout({s.width}, 6, Role::kAccumulate);
          const Tensor grad_bias =
              with_bias ? run.inout({s.width}, 7, Role::kAccumulate) : Tensor{};
          run.ops.norm_backward(kind, grad_output, input, statistics, weight, {}, grad_input,
                                grad_weight, grad_bias);
          run.result("grad_input", grad_input, s.width);
          // Again with a residual, in place, on top of the first weight gradients.
          run.ops.norm_backward(kind, grad_output, input, statistics, weight, grad_residual,
                                grad_residual, grad_weight, grad_bias);
          run.result("grad_input + residual", grad_residual, s.width);
          run.result("grad_weight", grad_weight, 2 * s.rows + s.width);
          if (with_bias) run.result("grad_bias", grad_bias, 2 * s.rows);
        });
      }
}

TEST_CASE("norm_apply repeats norm_forward bit for bit", "[norm]") {
  for (const Shape& s :
       {Shape{3, 37}, Shape{67, 517}, Shape{5, 1032}, Shape{2, 4099}, Shape{3, 33000}})
    for (NormKind kind : {NormKind::kLayerNorm, NormKind::kRmsNorm})
      for_each_back_end([&](Backend& backend) {
        Run run(backend);
        const Tensor input = run.input({s.rows, s.width}, 1, 1.5, 2);
        const Tensor weight = run.input({s.width}, 2);
        const Tensor bias = kind == NormKind::kLayerNorm ? run.input({s.width}, 3) : Tensor{};
        const Tensor first = run.output({s.rows, s.width}), again = run.output({s.rows, s.width});
        const Tensor statistics = run.output({s.rows, 2}, Role::kAccumulate);
        run.ops.norm_forward(kind, input, weight, bias, kEpsilon, first, statistics);
        run.ops.norm_apply(kind, input, statistics, weight, bias, again);
        run.result("forward", first, 1);
        run.result("apply", again, 1);
        const auto results = run.finish();
        CHECK(results[0].bytes == results[1].bytes);
      });
}

TEST_CASE("norm rows do not depend on the other rows of the call", "[norm]") {
  constexpr std::int64_t kRows = 67, kWidth = 517;
  for_each_back_end([](Backend& backend) {
    Run run(backend);
    const Tensor input = run.input({kRows, kWidth}, 1);
    const Tensor weight = run.input({kWidth}, 2);
    const Tensor all = run.output({kRows, kWidth}), one = run.output({1, kWidth});
    const Tensor statistics = run.output({kRows, 2}, Role::kAccumulate);
    run.ops.norm_forward(NormKind::kRmsNorm, input, weight, {}, kEpsilon, all, statistics);
    const std::size_t row = 41, bytes = input.bytes() / kRows;
    Tensor input_row = one, statistics_row = run.output({1, 2}, Role::kAccumulate);
    input_row.data = input.as<std::byte>() + row * bytes;
    run.ops.norm_forward(NormKind::kRmsNorm, input_row, weight, {}, kEpsilon, one, statistics_row);
    run.result("all", all, 1);
    run.result("one", one, 1);
    const auto results = run.finish();
    const auto begin = results[0].bytes.begin() + static_cast<std::ptrdiff_t>(row * bytes);
    CHECK(std::equal(results[1].bytes.begin(), results[1].bytes.end(), begin));
  });
}

// Widths around those at which a kernel changes what it keeps in registers.
TEST_CASE("norm of wide rows", "[norm]") {
  for (const Shape& s : {Shape{17, 768}, Shape{10, 1032}, Shape{10, 4099}, Shape{10, 4104},
                         Shape{3, 8200}, Shape{10, 16392}, Shape{1, 33000}})
    for (NormKind kind : {NormKind::kLayerNorm, NormKind::kRmsNorm}) {
      const bool layernorm = kind == NormKind::kLayerNorm;
      INFO("rows " << s.rows << ", width " << s.width << ", layernorm " << layernorm);
      on_every_back_end([&](Run& run) {
        const Tensor input = run.input({s.rows, s.width}, 1, 1.5, 2);
        const Tensor weight = run.input({s.width}, 2, 0.2, 1);
        const Tensor bias = layernorm ? run.input({s.width}, 3) : Tensor{};
        const Tensor output = run.output({s.rows, s.width});
        const Tensor statistics = run.output({s.rows, 2}, Role::kAccumulate);
        run.ops.norm_forward(kind, input, weight, bias, kEpsilon, output, statistics);
        run.result("output", output, s.width);
        run.result("statistics", statistics, s.width);
        const Tensor grad_input = run.inout({s.rows, s.width}, 4);
        const Tensor grad_weight = run.inout({s.width}, 5, Role::kAccumulate);
        const Tensor grad_bias = layernorm ? run.inout({s.width}, 6, Role::kAccumulate) : Tensor{};
        run.ops.norm_backward(kind, run.input({s.rows, s.width}, 7), input, statistics, weight,
                              grad_input, grad_input, grad_weight, grad_bias);
        run.result("grad_input", grad_input, s.width);
        run.result("grad_weight", grad_weight, s.rows + s.width);
        if (layernorm) run.result("grad_bias", grad_bias, s.rows);
      });
    }
}

}  // namespace seq1f1b::kernels::testing
