#include "tests/catch.h"
#include "tests/kernels/bench.h"

namespace seq1f1b::kernels::testing {
namespace {

struct Shape {
  std::int64_t rows, in, out;
};
const std::vector<Shape> kShapes{{1, 1, 1},     {1, 17, 5},      {7, 3, 129},
                                 {65, 130, 67}, {129, 257, 131}, {200, 33, 515}};

}  // namespace

TEST_CASE("linear forward with and without bias and residual", "[linear]") {
  for (const Shape& s : kShapes)
    for (bool with_bias : {false, true})
      for (bool with_residual : {false, true}) {
        INFO(s.rows << " x " << s.in << " x " << s.out << ", bias " << with_bias << ", residual "
                    << with_residual);
        on_every_back_end([&](Run& run) {
          const Tensor input = run.input({s.rows, s.in}, 1);
          const Tensor weight = run.input({s.out, s.in}, 2);
          const Tensor bias = with_bias ? run.input({s.out}, 3) : Tensor{};
          const Tensor residual = with_residual ? run.input({s.rows, s.out}, 4) : Tensor{};
          const Tensor output = run.output({s.rows, s.out});
          run.ops.linear_forward(input, weight, bias, residual, output);
          run.result("output", output, s.in);
        });
      }
}

TEST_CASE("linear forward adds to its own output as residual", "[linear]") {
  on_every_back_end([](Run& run) {
    const Tensor output = run.inout({67, 131}, 1);
    run.ops.linear_forward(run.input({67, 65}, 2), run.input({131, 65}, 3), run.input({131}, 4),
                           output, output);
    run.result("output", output, 65);
  });
}

TEST_CASE("linear input and weight gradients", "[linear]") {
  for (const Shape& s : kShapes)
    for (bool with_bias : {false, true}) {
      INFO(s.rows << " x " << s.in << " x " << s.out << ", bias " << with_bias);
      on_every_back_end([&](Run& run) {
        const Tensor input = run.input({s.rows, s.in}, 1);
        const Tensor weight = run.input({s.out, s.in}, 2);
        const Tensor grad_output = run.input({s.rows, s.out}, 3);
        const Tensor grad_input = run.output({s.rows, s.in});
        const Tensor grad_weight = run.inout({s.out, s.in}, 4, Role::kAccumulate);
        const Tensor grad_bias = with_bias ? run.inout({s.out}, 5, Role::kAccumulate) : Tensor{};
        run.ops.linear_input_grad(grad_output, weight, grad_input);
        run.ops.linear_weight_grad(grad_output, input, grad_weight, grad_bias);
        run.result("grad_input", grad_input, s.out);
        run.result("grad_weight", grad_weight, s.rows);
        if (with_bias) run.result("grad_bias", grad_bias, s.rows);
      });
    }
}

TEST_CASE("bias gradients of many rows and columns", "[linear]") {
  struct Shape {
    std::int64_t rows, out;
  };
  for (const Shape& s : {Shape{1, 8}, Shape{70, 1}, Shape{333, 37}, Shape{201, 1032}})
    on_every_back_end([&](Run& run) {
      const Tensor grad_bias = run.inout({s.out}, 1, Role::kAccumulate);
      run.ops.linear_weight_grad(run.input({s.rows, s.out}, 2), run.input({s.rows, 3}, 3),
                                 run.inout({s.out, 3}, 4, Role::kAccumulate), grad_bias);
      run.result("grad_bias", grad_bias, s.rows);
    });
}

}  // namespace seq1f1b::kernels::testing
