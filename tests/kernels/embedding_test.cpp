#include "tests/catch.h"
#include "tests/kernels/bench.h"

namespace seq1f1b::kernels::testing {

// Few words and many tokens, so that rows collide.
TEST_CASE("embedding forward and backward", "[embedding]") {
  struct Case {
    std::int64_t micro_batch, tokens, hidden, vocab, start;
    bool positions;
  };
  for (const Case& c : {Case{1, 1, 1, 1, 0, false}, Case{2, 13, 37, 5, 4, true},
                        Case{3, 67, 203, 11, 9, true}, Case{1, 129, 515, 7, 3, false},
                        Case{2, 301, 1032, 3, 5, true}, Case{1, 40, 64, 1000, 0, true}}) {
    on_every_back_end([&](Run& run) {
      const Tensor tokens = run.integers({c.micro_batch, c.tokens},
                                         [&](std::int64_t i) { return (i * i + 3 * i) % c.vocab; });
      const std::int64_t rows = c.start + c.tokens + 2;
      const Tensor weight = run.input({c.vocab, c.hidden}, 1);
      const Tensor position_weight = c.positions ? run.input({rows, c.hidden}, 2) : Tensor{};
      const Tensor output = run.output({c.micro_batch, c.tokens, c.hidden});
      run.ops.embedding_forward(tokens, weight, position_weight, c.start, output);
      run.result("output", output, 2);

      const Tensor grad_output = run.input({c.micro_batch, c.tokens, c.hidden}, 3);
      const Tensor grad_weight = run.inout({c.vocab, c.hidden}, 4, Role::kAccumulate);
      const Tensor grad_position =
          c.positions ? run.inout({rows, c.hidden}, 5, Role::kAccumulate) : Tensor{};
      run.ops.embedding_backward(tokens, grad_output, c.start, grad_weight, grad_position);
      run.result("grad_weight", grad_weight, c.micro_batch * c.tokens);
      if (c.positions) run.result("grad_position_weight", grad_position, c.micro_batch);
    });
  }
}

}  // namespace seq1f1b::kernels::testing
