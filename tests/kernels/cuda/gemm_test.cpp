// What gemm_cublaslt.cpp asks the library for, against the products of gemm.h in row-major loops.
#include "kernels/cuda/linear/gemm.h"

#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "kernels/common/bf16.h"
#include "tests/catch.h"
#include "tests/kernels/cuda/fake_cublaslt.h"

namespace seq1f1b::kernels::cuda {
namespace {

// A row-major matrix of small integers, exact in both types.
struct Matrix {
  Dtype dtype;
  std::vector<float> wide;
  std::vector<Bf16> narrow;
  Matrix(Dtype type, std::int64_t elements, int seed) : dtype(type) {
    for (std::int64_t i = 0; i < elements; ++i) {
      const float value = seed ? static_cast<float>((i * 7 + seed * 13) % 11 - 5) / 4
                               : std::numeric_limits<float>::quiet_NaN();
      wide.push_back(value);
      narrow.push_back(Bf16(value));
    }
  }
  void* data() { return dtype == Dtype::kF32 ? static_cast<void*>(wide.data()) : narrow.data(); }
  double at(std::int64_t i) const {
    const auto place = static_cast<std::size_t>(i);
    return dtype == Dtype::kF32 ? wide[place] : static_cast<float>(narrow[place]);
  }
};

double gelu(double x) {
  return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}
double gelu_slope(double x) { return (gelu(x + 1e-6) - gelu(x - 1e-6)) / 2e-6; }

struct Fixture {
  std::vector<std::byte> memory = std::vector<std::byte>(kGemmWorkspaceBytes);
  Context context;
  Gemm gemm;
  Fixture() {
    context.scratch = Scratch(memory.data(), memory.size());
    testing::fake_cublaslt() = {};
  }
  void run(const GemmProblem& problem) {
    context.scratch.reset();
    gemm.run(context, problem);
  }
};

constexpr std::int64_t kM = 5, kN = 16, kK = 7;

struct Case {
  Epilogue epilogue = Epilogue::kNone;
  bool transpose_a = false, transpose_b = false, addend = false, in_place = false, bias = false;
  Dtype input = Dtype::kBf16, output = Dtype::kBf16;
};

void compare(Fixture& fixture, const Case& c) {
  Matrix a(c.input, kM * kK, 1), b(c.input, kK * kN, 2);
  Matrix output(c.output, kM * kN, c.in_place ? 3 : 0), addend(c.output, kM * kN, 4);
  Matrix before = c.in_place ? output : addend;
  const bool writes_bias = c.epilogue == Epilogue::kBiasGrad;
  Matrix bias(c.output, writes_bias ? kM : kN, writes_bias ? 0 : 5);
  Matrix aux(c.output, kM * kN, c.epilogue == Epilogue::kDgelu ? 6 : 0);
  GemmProblem problem;
  problem.m = kM;
  problem.n = kN;
  problem.k = kK;
  problem.a = a.data();
  problem.b = b.data();
  problem.transpose_a = c.transpose_a;
  problem.transpose_b = c.transpose_b;
  problem.output = output.data();
  if (c.addend) problem.addend = c.in_place ? output.data() : addend.data();
  problem.epilogue = c.epilogue;
  if (c.bias || writes_bias) problem.bias = bias.data();
  if (c.epilogue == Epilogue::kGeluAuxBias || c.epilogue == Epilogue::kDgelu)
    problem.aux = aux.data();
  problem.input_dtype = c.input;
  problem.output_dtype = c.output;
  fixture.run(problem);

  const double tolerance = c.output == Dtype::kF32 ? 1e-5 : 1e-2;
  for (std::int64_t i = 0; i < kM; ++i) {
    double row_sum = 0;
    const auto a_at = [&](std::int64_t k) { return a.at(c.transpose_a ? k * kM + i : i * kK + k); };
    for (std::int64_t k = 0; k < kK; ++k) row_sum += a_at(k);
    if (writes_bias) CHECK(bias.at(i) == Approx(row_sum).epsilon(tolerance).margin(1e-6));
    for (std::int64_t j = 0; j < kN; ++j) {
      double sum = 0;
      for (std::int64_t k = 0; k < kK; ++k)
        sum += a_at(k) * b.at(c.transpose_b ? j * kK + k : k * kN + j);
      if (c.addend) sum += before.at(i * kN + j);
      if (c.bias) sum += bias.at(j);
      if (c.epilogue == Epilogue::kGeluAuxBias) {
        CHECK(aux.at(i * kN + j) == Approx(sum).epsilon(tolerance).margin(1e-6));
        sum = gelu(sum);
      }
      if (c.epilogue == Epilogue::kDgelu) sum *= gelu_slope(aux.at(i * kN + j));
      CHECK(output.at(i * kN + j) == Approx(sum).epsilon(tolerance).margin(1e-5));
    }
  }
}

}  // namespace

TEST_CASE("products of every layout and type reach the library transposed") {
  Fixture fixture;
  for (bool ta : {false, true})
    for (bool tb : {false, true}) {
      compare(fixture, {.transpose_a = ta, .transpose_b = tb});
      compare(fixture,
              {.transpose_a = ta, .transpose_b = tb, .input = Dtype::kF32, .output = Dtype::kF32});
      compare(fixture, {.transpose_a = ta,
                        .transpose_b = tb,
                        .addend = true,
                        .in_place = true,
                        .output = Dtype::kF32});
    }
}

TEST_CASE("epilogues run along our columns") {
  Fixture fixture;
  compare(fixture, {.epilogue = Epilogue::kBias, .transpose_b = true, .bias = true});
  compare(fixture,
          {.epilogue = Epilogue::kBias, .transpose_b = true, .addend = true, .bias = true});
  compare(fixture, {.epilogue = Epilogue::kBias,
                    .transpose_b = true,
                    .addend = true,
                    .in_place = true,
                    .bias = true});
  compare(fixture, {.epilogue = Epilogue::kGeluAuxBias, .transpose_b = true, .bias = true});
  compare(fixture, {.epilogue = Epilogue::kGeluAuxBias, .transpose_b = true});
  compare(fixture, {.epilogue = Epilogue::kDgelu});
  compare(fixture, {.epilogue = Epilogue::kBiasGrad,
                    .transpose_a = true,
                    .addend = true,
                    .in_place = true,
                    .output = Dtype::kF32});
}

TEST_CASE("an algorithm is chosen once per shape, type, epilogue and alignment") {
  Fixture fixture;
  testing::FakeCublasLt& library = testing::fake_cublaslt();
  alignas(256) static float memory[1024];
  GemmProblem problem;
  problem.m = problem.n = problem.k = 4;
  problem.a = memory;
  problem.b = memory + 128;
  problem.output = memory + 256;
  problem.input_dtype = problem.output_dtype = Dtype::kF32;
  fixture.run(problem);
  fixture.run(problem);
  problem.a = memory + 64;  // 256 bytes on: as well aligned
  fixture.run(problem);
  CHECK(library.choices == 1);
  CHECK(library.workspace_bytes == kGemmWorkspaceBytes);
  problem.a = memory + 65;
  fixture.run(problem);
  CHECK(library.choices == 2);
  problem.addend = problem.output;
  fixture.run(problem);
  CHECK(library.choices == 3);
  constexpr std::uint32_t kNone = 0, kInPlace = 1, kComputeType = 2;
  CHECK(library.reduction_mask == (kNone | kComputeType));
  fixture.context.deterministic = false;
  fixture.run(problem);
  CHECK(library.choices == 4);
  CHECK(library.reduction_mask == (kInPlace | kComputeType));
}

TEST_CASE("what the library cannot do is known before it is asked to") {
  Fixture fixture;
  alignas(256) float memory[512] = {};
  GemmProblem problem;
  problem.m = problem.k = 4;
  problem.n = 12;  // aux wants a multiple of 8
  problem.a = memory;
  problem.b = memory + 64;
  problem.output = memory + 128;
  problem.epilogue = Epilogue::kDgelu;
  problem.aux = memory + 256;
  problem.input_dtype = problem.output_dtype = Dtype::kF32;
  CHECK_FALSE(fixture.gemm.supports(fixture.context, problem));
  problem.n = 16;
  CHECK(fixture.gemm.supports(fixture.context, problem));
  problem.aux = memory + 257;  // not at a multiple of 16 bytes
  CHECK_FALSE(fixture.gemm.supports(fixture.context, problem));
  problem.aux = memory + 256;
  testing::fake_cublaslt().refuse = true;
  problem.m = 8;
  CHECK_FALSE(fixture.gemm.supports(fixture.context, problem));
  CHECK_THROWS_AS(fixture.run(problem), Error);
  testing::fake_cublaslt().refuse = false;
  testing::fake_cublaslt().invalid = true;
  problem.m = 12;
  CHECK_FALSE(fixture.gemm.supports(fixture.context, problem));
  GemmProblem plain = problem;
  plain.epilogue = Epilogue::kNone;
  plain.aux = nullptr;
  CHECK_THROWS_AS(fixture.gemm.supports(fixture.context, plain), Error);
  problem.addend = problem.output;
  CHECK_THROWS_AS(fixture.run(problem), InternalError);
  plain.epilogue = Epilogue::kBias;
  plain.bias = memory + 258;  // not at a multiple of 16 bytes
  CHECK_THROWS_AS(fixture.run(plain), InternalError);
}

}  // namespace seq1f1b::kernels::cuda
