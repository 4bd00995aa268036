#include "tests/catch.h"
#include "tests/kernels/bench.h"
#include "tests/kernels/views.h"

namespace seq1f1b::kernels::testing {

TEST_CASE("gelu and swiglu, forward and backward", "[activation]") {
  struct Shape {
    std::int64_t rows, ffn;
  };
  // A deviation of 4 reaches both flat ends of the functions.
  for (const Shape& s : {Shape{1, 1}, Shape{5, 37}, Shape{67, 517}, Shape{3, 4104}}) {
    on_every_back_end([&](Run& run) {
      const Tensor input = run.input({s.rows, s.ffn}, 1, 4);
      const Tensor grad_output = run.input({s.rows, s.ffn}, 2);
      const Tensor output = run.output({s.rows, s.ffn});
      const Tensor grad_input = run.output({s.rows, s.ffn});
      run.ops.gelu_forward(input, output);
      run.ops.gelu_backward(input, grad_output, grad_input);
      const Tensor in_place = run.inout({s.rows, s.ffn}, 2);
      run.ops.gelu_backward(input, in_place, in_place);
      run.result("gelu", output, 1);
      run.result("gelu gradient", grad_input, 1);
      run.result("gelu gradient in place", in_place, 1);
    });
    on_every_back_end([&](Run& run) {
      const Tensor gate_up = run.input({s.rows, 2 * s.ffn}, 1, 4);
      const Tensor grad_output = run.input({s.rows, s.ffn}, 2);
      const Tensor output = run.output({s.rows, s.ffn});
      const Tensor grad_gate_up = run.output({s.rows, 2 * s.ffn});
      run.ops.swiglu_forward(gate_up, output);
      run.ops.swiglu_backward(gate_up, grad_output, grad_gate_up);
      run.result("swiglu", output, 1);
      run.result("swiglu gradient", grad_gate_up, 1);
    });
  }
}

TEST_CASE("gelu of a range that begins anywhere", "[activation]") {
  constexpr std::int64_t kCount = 517;
  for (std::int64_t first : {1, 2})
    on_every_back_end([&](Run& run) {
      const auto part = [&](const Tensor& all) { return view_from(all, first, {kCount}); };
      const Tensor input = run.input({kCount + 4}, 1, 4);
      const Tensor grad_output = run.input({kCount + 4}, 2);
      const Tensor output = run.inout({kCount + 4}, 3), grad_input = run.inout({kCount + 4}, 4);
      run.ops.gelu_forward(part(input), part(output));
      run.ops.gelu_backward(part(input), part(grad_output), part(grad_input));
      run.result("gelu", output, 1);
      run.result("gelu gradient", grad_input, 1);
    });
}

TEST_CASE("activations of huge inputs stay finite", "[activation]") {
  for_each_back_end([](Backend& backend) {
    Run run(backend);
    const Tensor input = run.input({2, 64}, 1, 1e4), one = run.input({2, 64}, 2, 0, 1);
    const Tensor output = run.output({2, 64}), grad_input = run.output({2, 64});
    run.ops.gelu_forward(input, output);
    run.ops.gelu_backward(input, one, grad_input);
    const auto x = run.values(input), y = run.values(output), slope = run.values(grad_input);
    for (std::size_t i = 0; i < x.size(); ++i) {
      if (x[i] > -20 && x[i] < 20) continue;
      CHECK(y[i] == Approx(x[i] > 0 ? x[i] : 0.0).margin(1e-30));
      CHECK(slope[i] == Approx(x[i] > 0 ? 1.0 : 0.0).margin(1e-20));
    }
  });
}

}  // namespace seq1f1b::kernels::testing
