#include <cmath>
#include <limits>

#include "tests/catch.h"
#include "tests/kernels/bench.h"
#include "tests/kernels/views.h"

namespace seq1f1b::kernels::testing {

TEST_CASE("cross entropy and its gradient", "[cross_entropy]") {
  struct Case {
    std::int64_t rows, vocab;
    double spread;
  };
  for (const Case& c :
       {Case{1, 1, 1}, Case{3, 17, 1}, Case{37, 1031, 2}, Case{3, 50257, 3}, Case{19, 1031, 60},
        Case{3, 1040, 60}, Case{1000, 7, 1}, Case{2, 50304, 3}, Case{1, 262144, 3}})
    for (bool write_gradient : {true, false}) {
      INFO(c.rows << " rows of " << c.vocab << ", gradient " << write_gradient);
      on_every_back_end([&](Run& run) {
        const Tensor logits = run.inout({c.rows, c.vocab}, 1, Role::kCompute, c.spread);
        // Every fifth row does not count.
        const Tensor labels = run.integers(
            {c.rows}, [&](std::int64_t i) { return i % 5 == 2 ? -1 : (i * 7919) % c.vocab; });
        const double* scale = run.scalar(0.125);
        double* loss_sum = run.scalar(2.5);
        run.ops.cross_entropy(logits, labels, scale, write_gradient, loss_sum);
        run.result_scalar("loss", loss_sum, c.vocab);
        // A score's rounding error is relative to its size, and moves the probability by as much.
        if (write_gradient) run.result("gradient", logits, {c.vocab, 1 + c.spread});
      });
    }
}

TEST_CASE("cross entropy without counted rows adds nothing", "[cross_entropy]") {
  for_each_back_end([](Backend& backend) {
    Run run(backend);
    const Tensor logits = run.inout({3, 11}, 1);
    double *scale = run.scalar(1), *loss_sum = run.scalar(2.5), *other_sum = run.scalar(0);
    // A call that counts leaves losses behind in whatever the back end keeps.
    run.ops.cross_entropy(run.inout({3, 11}, 2),
                          run.integers({3}, [](std::int64_t i) { return i; }), scale, true,
                          other_sum);
    CHECK(run.value(other_sum) > 0);
    run.ops.cross_entropy(logits, run.integers({3}, [](std::int64_t) { return -1; }), scale, true,
                          loss_sum);
    CHECK(run.value(loss_sum) == 2.5);
    for (double value : run.values(logits)) CHECK(value == 0);
  });
}

TEST_CASE("cross entropy shows a logit that is not a number", "[cross_entropy]") {
  for_each_back_end([](Backend& backend) {
    Run run(backend);
    const Tensor logits = run.inout({2, 37}, 1);
    run.set(logits, 0, std::nan(""));
    double *scale = run.scalar(1), *loss_sum = run.scalar(0);
    run.ops.cross_entropy(logits, run.integers({2}, [](std::int64_t) { return 5; }), scale, true,
                          loss_sum);
    CHECK(std::isnan(run.value(loss_sum)));
  });
}

// Minus infinity is how a word is forbidden: it has no probability and no gradient.
TEST_CASE("cross entropy with forbidden words", "[cross_entropy]") {
  constexpr std::int64_t kRows = 5, kVocab = 1040;
  on_every_back_end([&](Run& run) {
    const Tensor logits = run.inout({kRows, kVocab}, 1, Role::kCompute, 2);
    for (std::int64_t row = 0; row < kRows; ++row)
      run.ops.fill(view_from(logits, row * kVocab + 8 * row, {kVocab / 2}),
                   -std::numeric_limits<double>::infinity());
    const Tensor labels = run.integers({kRows}, [](std::int64_t i) { return 1000 + i; });
    double* loss_sum = run.scalar(0);
    run.ops.cross_entropy(logits, labels, run.scalar(0.5), true, loss_sum);
    run.result_scalar("loss", loss_sum, kVocab);
    run.result("gradient", logits, {kVocab, 3});
  });
}

}  // namespace seq1f1b::kernels::testing
