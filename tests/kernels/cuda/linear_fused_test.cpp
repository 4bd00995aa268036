// The ways in which linear.cpp may share work between a product and a kernel behind it give the
// same results. On the emulated device.
#include <random>
#include <vector>

#include "kernels/common/bf16.h"
#include "kernels/cuda/attention/attention_rows.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/linear/linear.h"
#include "tests/catch.h"

namespace seq1f1b::kernels::cuda {
namespace {

struct Fixture {
  CudaDevice device{Gpu{0, 80}, false};
  DeviceBuffer scratch{device, kGemmWorkspaceBytes + (std::size_t{1} << 20)};
  Context context;
  std::vector<DeviceBuffer> memory;
  Fixture() {
    context.stream = device.stream();
    context.multiprocessors = device.multiprocessors();
    context.scratch = Scratch(scratch.data(), scratch.bytes());
  }
  // Normal draws.
  Tensor draws(Dtype dtype, std::initializer_list<std::int64_t> dims, unsigned seed) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    Tensor tensor(nullptr, dtype, dims);
    std::vector<float> wide(static_cast<std::size_t>(tensor.elements()));
    for (float& value : wide) value = normal(random);
    const std::vector<Bf16> narrow(wide.begin(), wide.end());
    memory.emplace_back(device, tensor.bytes());
    tensor.data = memory.back().data();
    device.upload(tensor.data,
                  dtype == Dtype::kF32 ? static_cast<const void*>(wide.data()) : narrow.data(),
                  tensor.bytes());
    return tensor;
  }
  std::vector<double> values(const Tensor& tensor) {
    const auto count = static_cast<std::size_t>(tensor.elements());
    std::vector<float> wide(count);
    std::vector<Bf16> narrow(count);
    device.download(tensor.dtype == Dtype::kF32 ? static_cast<void*>(wide.data()) : narrow.data(),
                    tensor.data, tensor.bytes());
    if (tensor.dtype == Dtype::kF32) return {wide.begin(), wide.end()};
    std::vector<double> result;
    for (Bf16 value : narrow) result.push_back(static_cast<float>(value));
    return result;
  }
};

void agree(const std::vector<double>& one, const std::vector<double>& other, double tolerance) {
  REQUIRE(one.size() == other.size());
  for (std::size_t i = 0; i < one.size(); ++i)
    CHECK(one[i] == Approx(other[i]).epsilon(tolerance).margin(tolerance));
}

constexpr std::int64_t kRows = 24, kHidden = 16, kFfn = 32;

}  // namespace

TEST_CASE("gelu inside a product is gelu behind it") {
  for (const bool biased : {true, false}) {
    std::vector<std::vector<double>> results;
    for (const bool fused : {true, false}) {
      Fixture f;
      Linear linear({.gelu_in_epilogue = fused});
      const Tensor input = f.draws(Dtype::kBf16, {kRows, kHidden}, 1);
      const Tensor weight = f.draws(Dtype::kBf16, {kFfn, kHidden}, 2);
      const Tensor bias = biased ? f.draws(Dtype::kBf16, {kFfn}, 3) : Tensor{};
      const Tensor pre = f.draws(Dtype::kBf16, {kRows, kFfn}, 4);
      const Tensor output = f.draws(Dtype::kBf16, {kRows, kFfn}, 5);
      linear.gelu_forward(f.context, input, weight, bias, pre, output);
      f.context.scratch.reset();
      const Tensor down = f.draws(Dtype::kBf16, {kHidden, kFfn}, 6);
      const Tensor grad_output = f.draws(Dtype::kBf16, {kRows, kHidden}, 7);
      const Tensor grad_pre = f.draws(Dtype::kBf16, {kRows, kFfn}, 8);
      linear.gelu_input_grad(f.context, grad_output, down, pre, grad_pre);
      for (const Tensor& tensor : {pre, output, grad_pre}) results.push_back(f.values(tensor));
    }
    // Two roundings to bf16 instead of one.
    for (std::size_t i = 0; i < 3; ++i) agree(results[i], results[i + 3], 0.03);
  }
}

TEST_CASE("a bias gradient from an epilogue is added like that of a kernel") {
  for (const Dtype dtype : {Dtype::kBf16, Dtype::kF32}) {
    std::vector<std::vector<double>> results;
    for (const bool fused : {true, false}) {
      Fixture f;
      Linear linear({.bias_grad_in_epilogue = fused});
      const Tensor input = f.draws(dtype, {kRows, kHidden}, 1);
      const Tensor grad_output = f.draws(dtype, {kRows, kFfn}, 2);
      const Tensor grad_weight = f.draws(Dtype::kF32, {kFfn, kHidden}, 3);
      const Tensor grad_bias = f.draws(Dtype::kF32, {kFfn}, 4);
      linear.weight_grad(f.context, grad_output, input, grad_weight, grad_bias);
      for (const Tensor& tensor : {grad_weight, grad_bias}) results.push_back(f.values(tensor));
    }
    agree(results[0], results[2], 1e-5);
    agree(results[1], results[3], 1e-5);
  }
}

TEST_CASE("a segment's bf16 gradient of the carry goes into rows of the accumulator") {
  for (const std::int64_t width : {64, 14}) {
    Fixture f;
    f.context.multiprocessors = 1;  // a block per plane, which has more packets than that threads
    constexpr std::int64_t kCapacity = 23, kUsed = 20;
    const Tensor accumulator = f.draws(Dtype::kF32, {2, 3, kCapacity, width}, 1);
    const Tensor part = f.draws(Dtype::kBf16, {2, 3, kUsed, width}, 2);
    const std::vector<double> before = f.values(accumulator), added = f.values(part);
    const auto expected = [&](std::int64_t plane, std::int64_t row, std::int64_t d, bool add) {
      const double old = before[static_cast<std::size_t>((plane * kCapacity + row) * width + d)];
      if (row >= kUsed) return old;
      const double share = added[static_cast<std::size_t>((plane * kUsed + row) * width + d)];
      return add ? old + share : share;
    };
    for (const bool add : {true, false}) {
      take_carry_gradient(f.context, part.data, kUsed, accumulator,
                          add ? Accumulate::kAdd : Accumulate::kOverwrite);
      const std::vector<double> after = f.values(accumulator);
      for (std::int64_t plane = 0; plane < 6; ++plane)
        for (std::int64_t row = 0; row < kCapacity; ++row)
          for (std::int64_t d = 0; d < width; ++d)
            CHECK(after[static_cast<std::size_t>((plane * kCapacity + row) * width + d)] ==
                  Approx(expected(plane, row, d, add)).epsilon(1e-6).margin(1e-6));
    }
  }
}

}  // namespace seq1f1b::kernels::cuda
