#include "kernels/common/bf16.h"
#include "tests/catch.h"
#include "tests/kernels/bench.h"
#include "tests/kernels/views.h"

namespace seq1f1b::kernels::testing {

TEST_CASE("fill, copy and accumulate", "[movement]") {
  for (std::int64_t count : {1, 17, 40009}) {
    on_every_back_end([&](Run& run) {
      const Tensor filled = run.output({count});
      run.ops.fill(filled, -0.375);
      const Tensor copied = run.output({count, 3});
      run.ops.copy(run.input({count, 3}, 1), copied);
      const Tensor sum = run.inout({count}, 2, Role::kAccumulate);
      const Tensor addend = run.inout({count}, 3, Role::kAccumulate);
      run.ops.accumulate(addend, sum);
      run.result("filled", filled, {0, 0});
      run.result("copied", copied, {0, 0});
      run.result("sum", sum, 1);
    });
  }
}

TEST_CASE("cast rounds to the nearest, and widens exactly", "[movement]") {
  for (std::int64_t count : {1, 17, 40009}) {
    on_every_back_end([&](Run& run) {
      const Tensor exact = run.inout({count}, 1, Role::kAccumulate);
      const Tensor rounded = run.output({count}), widened = run.output({count}, Role::kAccumulate);
      run.ops.cast(exact, rounded);
      run.ops.cast(run.input({count}, 2), widened);
      run.result("rounded", rounded, {0, run.compute() == Dtype::kBf16 ? 1.0 : 0.0});
      run.result("widened", widened, {0, 0});
      if (run.compute() != Dtype::kBf16) return;
      const auto from = run.values(exact), to = run.values(rounded);
      for (std::size_t i = 0; i < from.size(); ++i)
        if (to[i] != static_cast<double>(static_cast<float>(Bf16(static_cast<float>(from[i])))))
          FAIL(from[i] << " became " << to[i]);
    });
  }
}

TEST_CASE("fill and copy of integers", "[movement]") {
  for_each_back_end([](Backend& backend) {
    Run run(backend);
    const Tensor numbers = run.integers({5}, [](std::int64_t i) { return i - 2; });
    const Tensor copied = run.integer_output({5}), filled = run.integer_output({5});
    run.ops.copy(numbers, copied);
    run.ops.fill(filled, 7);
    CHECK(run.integer_values(copied) == std::vector<std::int32_t>{-2, -1, 0, 1, 2});
    CHECK(run.integer_values(filled) == std::vector<std::int32_t>(5, 7));
  });
}

// Wide accesses must neither need an alignment nor touch what lies before or behind.
TEST_CASE("movement of ranges that begin anywhere", "[movement]") {
  constexpr std::int64_t kCount = 2051;
  for (std::int64_t from : {0, 1, 2, 4})
    for (std::int64_t to : {0, 1, 3, 4}) {
      INFO("from element " << from << " to element " << to);
      on_every_back_end([&](Run& run) {
        const auto part = [](const Tensor& all, std::int64_t first) {
          return view_from(all, first, {kCount});
        };
        const Tensor all = run.input({kCount + 8}, 1);
        const Tensor all_exact = run.inout({kCount + 8}, 2, Role::kAccumulate);
        const Tensor filled = run.inout({kCount + 8}, 3), copied = run.inout({kCount + 8}, 4);
        const Tensor rounded = run.inout({kCount + 8}, 5);
        const Tensor widened = run.inout({kCount + 8}, 6, Role::kAccumulate);
        const Tensor sum = run.inout({kCount + 8}, 7, Role::kAccumulate);
        run.ops.fill(part(filled, to), 2.5);
        run.ops.copy(part(all, from), part(copied, to));
        run.ops.cast(part(all_exact, from), part(rounded, to));
        run.ops.cast(part(all, from), part(widened, to));
        run.ops.accumulate(part(all_exact, from), part(sum, to));
        run.result("filled", filled, {0, 0});
        run.result("copied", copied, {0, 0});
        run.result("rounded", rounded, {0, run.compute() == Dtype::kBf16 ? 1.0 : 0.0});
        run.result("widened", widened, {0, 0});
        run.result("sum", sum, 1);
      });
    }
}

}  // namespace seq1f1b::kernels::testing
