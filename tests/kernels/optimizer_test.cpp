#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/common/host_grad_norm.h"
#include "tests/catch.h"
#include "tests/kernels/bench.h"
#include "tests/kernels/views.h"

namespace seq1f1b::kernels::testing {

TEST_CASE("sum of squares", "[optimizer]") {
  for (std::int64_t count : {1, 37, 16385, 70001}) {
    on_every_back_end([&](Run& run) {
      double* sum = run.scalar(-1);
      const Tensor input = run.inout({count}, 1, Role::kAccumulate);
      run.ops.sum_of_squares(input, sum);
      // In fp64 on every back end, whatever the dtype of the input.
      run.result("input", input, {0, 0});
      run.result_scalar("sum", sum, 1);
    });
  }
}

TEST_CASE("adamw over several steps and tensors", "[optimizer]") {
  on_every_back_end([](Run& run) {
    std::vector<AdamwTensor> tensors;
    for (std::int64_t count : {3, 517, 20011}) {
      const auto key = static_cast<std::uint64_t>(count);
      AdamwTensor tensor;
      tensor.weight = run.inout({count}, key);
      tensor.master = run.master(tensor.weight);
      tensor.gradient = run.inout({count}, key + 1, Role::kAccumulate, 3);
      tensor.first_moment = run.output({count}, Role::kAccumulate);
      tensor.second_moment = run.output({count}, Role::kAccumulate);
      run.ops.fill(tensor.first_moment, 0);
      run.ops.fill(tensor.second_moment, 0);
      tensor.weight_decay = count == 3 ? 0 : 0.1;
      tensors.push_back(tensor);
    }
    for (int step = 1; step <= 3; ++step) {
      AdamWParams constants;
      constants.learning_rate = 0.01 * step;
      constants.bias_correction1 = 1 - std::pow(constants.beta1, step);
      constants.bias_correction2 = 1 - std::pow(constants.beta2, step);
      constants.gradient_scale = 0.25;
      run.ops.adamw(tensors, run.step(constants));
    }
    for (const AdamwTensor& tensor : tensors) {
      run.result("weight", tensor.weight, 3);
      // Where there is no master the weight is as exact as one.
      run.result("exact weight", tensor.master ? tensor.master : tensor.weight, 3);
      run.result("first_moment", tensor.first_moment, 3);
      run.result("second_moment", tensor.second_moment, 3);
    }
  });
}

// By hand: m = 0.1 g, v = 0.05 g^2, both corrected back to g and g^2, so the step is lr * sign(g).
TEST_CASE("adamw's first step moves by the learning rate and decays", "[optimizer]") {
  Backend backend = make_reference_backend();
  double weight[2] = {1.0, -2.0}, gradient[2] = {0.5, -3.0}, first[2] = {}, second[2] = {};
  const auto view = [](double* data) { return Tensor(data, Dtype::kF64, {2}); };
  AdamwTensor tensor;
  tensor.weight = view(weight);
  tensor.gradient = view(gradient);
  tensor.first_moment = view(first);
  tensor.second_moment = view(second);
  tensor.weight_decay = 0.1;
  AdamWParams step;
  step.learning_rate = 0.01;
  step.epsilon = 0;
  step.bias_correction1 = 1 - step.beta1;
  step.bias_correction2 = 1 - step.beta2;
  backend.ops->adamw(std::span(&tensor, 1), &step);
  CHECK(weight[0] == Approx(1.0 - 0.01 - 0.01 * 0.1 * 1.0).epsilon(1e-14));
  CHECK(weight[1] == Approx(-2.0 + 0.01 + 0.01 * 0.1 * 2.0).epsilon(1e-14));
}

// As many tensors as a launch's table holds and more, parts of flat storage that begin anywhere:
// whole tiles at 16 bytes and between them, too.
TEST_CASE("adamw over many tensors in one piece of memory", "[optimizer]") {
  constexpr std::int64_t kAll = 19400;
  for (std::int64_t many : {64, 70})
    on_every_back_end([&](Run& run) {
      const Tensor weight = run.inout({kAll}, 1), master = run.master(weight);
      const Tensor gradient = run.inout({kAll}, 2, Role::kAccumulate);
      const Tensor first = run.inout({kAll}, 3, Role::kAccumulate);
      const Tensor second = run.inout({kAll}, 4, Role::kAccumulate);
      run.ops.fill(second, 0.25);
      std::vector<AdamwTensor> tensors;
      std::int64_t begin = 0;
      for (std::int64_t n = 0; n < many; ++n) {
        const std::int64_t count = n % 50 == 0 ? 4100 - n : n % 9 == 4 ? 1031 : n % 7 * 16;
        AdamwTensor& tensor = tensors.emplace_back();
        tensor.weight = view_from(weight, begin, {count});
        if (master) tensor.master = view_from(master, begin, {count});
        tensor.gradient = view_from(gradient, begin, {count});
        tensor.first_moment = view_from(first, begin, {count});
        tensor.second_moment = view_from(second, begin, {count});
        tensor.weight_decay = n % 2 ? 0.1 : 0;
        begin += count;
      }
      REQUIRE(begin <= kAll);
      AdamWParams step;
      step.learning_rate = 0.01;
      step.gradient_scale = 0.5;
      run.ops.adamw(tensors, run.step(step));
      step.apply = 0;
      run.ops.adamw(tensors, run.step(step));  // changes nothing
      run.result("weight", weight, 1);
      run.result("exact weight", master ? master : weight, 1);
      run.result("first_moment", first, 1);
      run.result("second_moment", second, 1);
    });
}

TEST_CASE("sum of squares of a range that begins anywhere", "[optimizer]") {
  on_every_back_end([](Run& run) {
    const Tensor input = run.inout({40007}, 1, Role::kAccumulate);
    for (std::int64_t first : {0, 1, 2, 4}) {
      double* sum = run.scalar(-1);
      run.ops.sum_of_squares(view_from(input, first, {40003}), sum);
      run.result_scalar("sum", sum, 1);
    }
  });
}

TEST_CASE("clip does what the host's does, bit for bit", "[optimizer]") {
  struct Case {
    std::int64_t count;
    double clip_norm, loss, last;
  };
  const double infinity = std::numeric_limits<double>::infinity();
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const Case& c : {Case{1, 1, 2, 4}, Case{700, 1, 2, 0.5}, Case{700, 0, 2, 0.5},
                        Case{256, 1e9, -3, 1}, Case{3, 1, infinity, 1}, Case{3, 1, -infinity, 1},
                        Case{3, 1, nan, 1}, Case{3, 1, 2, infinity}, Case{3, 1, 2, nan}}) {
    std::vector<double> squares(static_cast<std::size_t>(c.count), 1.0 / 3);
    squares.back() = c.last;
    const Tensor view(squares.data(), Dtype::kF64, {c.count});
    AdamWParams expected;
    finalize_grad_norm_on_host(view, c.loss, c.clip_norm, expected);
    for_each_back_end([&](Backend& backend) {
      Run run(backend);
      AdamWParams* step = run.step({});
      run.ops.finalize_grad_norm(run.doubles(squares), run.scalar(c.loss), c.clip_norm, step);
      const AdamWParams found = run.value(step);
      CHECK(std::memcmp(&found, &expected, sizeof found) == 0);
    });
  }
}

}  // namespace seq1f1b::kernels::testing
