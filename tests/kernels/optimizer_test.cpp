#include <cmath>

#include "tests/catch.h"
#include "tests/kernels/bench.h"

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
      AdamwStep constants;
      constants.learning_rate = 0.01 * step;
      constants.bias_correction1 = 1 - std::pow(constants.beta1, step);
      constants.bias_correction2 = 1 - std::pow(constants.beta2, step);
      constants.gradient_scale = 0.25;
      run.ops.adamw(tensors, &constants);
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
  AdamwStep step;
  step.learning_rate = 0.01;
  step.epsilon = 0;
  step.bias_correction1 = 1 - step.beta1;
  step.bias_correction2 = 1 - step.beta2;
  backend.ops->adamw(std::span(&tensor, 1), &step);
  CHECK(weight[0] == Approx(1.0 - 0.01 - 0.01 * 0.1 * 1.0).epsilon(1e-14));
  CHECK(weight[1] == Approx(-2.0 + 0.01 + 0.01 * 0.1 * 2.0).epsilon(1e-14));
}

}  // namespace seq1f1b::kernels::testing
