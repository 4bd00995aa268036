// kernels/cuda/linear/gemm.h by plain loops, in stream order, in place of cuBLASLt. Sums run in
// fp32, in the order of k; the workspace is taken and spoilt, as the library would.
#include "kernels/cuda/linear/gemm.h"

#include <cmath>
#include <cstring>
#include <vector>

#include "kernels/common/bf16.h"
#include "kernels/cuda/check.h"
#include "kernels/simt/runtime.h"

namespace seq1f1b::kernels::cuda {
namespace {

float load(const void* data, Dtype dtype, std::int64_t i) {
  return dtype == Dtype::kBf16 ? static_cast<float>(static_cast<const Bf16*>(data)[i])
                               : static_cast<const float*>(data)[i];
}
void store(void* data, Dtype dtype, std::int64_t i, float value) {
  if (dtype == Dtype::kBf16)
    static_cast<Bf16*>(data)[i] = Bf16(value);
  else
    static_cast<float*>(data)[i] = value;
}

// As [rows, columns], whatever its order in memory.
std::vector<float> matrix(const void* data, Dtype dtype, std::int64_t rows, std::int64_t columns,
                          bool transpose) {
  std::vector<float> values(static_cast<std::size_t>(rows * columns));
  for (std::int64_t i = 0; i < rows; ++i)
    for (std::int64_t j = 0; j < columns; ++j)
      values[static_cast<std::size_t>(i * columns + j)] =
          load(data, dtype, transpose ? j * rows + i : i * columns + j);
  return values;
}

double inner(double x) { return std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x); }
double gelu(double x) { return 0.5 * x * (1 + std::tanh(inner(x))); }
double gelu_slope(double x) {
  const double t = std::tanh(inner(x));
  return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * std::sqrt(2 / M_PI) * (1 + 3 * 0.044715 * x * x);
}

void multiply(const GemmProblem& p) {
  const auto a = matrix(p.a, p.input_dtype, p.m, p.k, p.transpose_a);
  const auto b = matrix(p.b, p.input_dtype, p.k, p.n, p.transpose_b);
  std::vector<float> sums(static_cast<std::size_t>(p.n));
  for (std::int64_t i = 0; i < p.m; ++i) {
    std::fill(sums.begin(), sums.end(), 0.0f);
    float row_sum = 0;
    for (std::int64_t k = 0; k < p.k; ++k) {
      const float factor = a[static_cast<std::size_t>(i * p.k + k)];
      const float* row = b.data() + k * p.n;
      row_sum += factor;
      for (std::size_t j = 0; j < sums.size(); ++j) sums[j] += factor * row[j];
    }
    if (p.epilogue == Epilogue::kBiasGrad) static_cast<float*>(p.bias)[i] = row_sum;
    for (std::int64_t j = 0; j < p.n; ++j) {
      const std::int64_t at = i * p.n + j;
      float value = sums[static_cast<std::size_t>(j)];
      if (p.bias && p.epilogue != Epilogue::kBiasGrad) value += load(p.bias, p.output_dtype, j);
      if (p.epilogue == Epilogue::kGeluAuxBias) {
        store(p.aux, p.output_dtype, at, value);
        value = static_cast<float>(gelu(value));
      }
      if (p.epilogue == Epilogue::kDgelu)
        value *= static_cast<float>(gelu_slope(load(p.aux, p.output_dtype, at)));
      if (p.addend) value += load(p.addend, p.output_dtype, at);
      store(p.output, p.output_dtype, at, value);
    }
  }
}

}  // namespace

struct Gemm::State {};
Gemm::Gemm() = default;
Gemm::~Gemm() = default;

bool Gemm::supports(const Context&, const GemmProblem&) { return true; }

void Gemm::run(Context& context, const GemmProblem& problem) {
  auto* const workspace = context.scratch.take<std::byte>(kGemmWorkspaceBytes);
  simt::Runtime& runtime = simt::Runtime::get();
  const std::scoped_lock lock(runtime.mutex);
  simt::Task task;
  task.run = [problem, workspace] {
    std::memset(workspace, 0xFF, 4096);
    multiply(problem);
  };
  check(runtime.submit(context.stream, std::move(task)), "multiplying");
}

}  // namespace seq1f1b::kernels::cuda
