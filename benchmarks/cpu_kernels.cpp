// Times the CPU back end's matrix products and attention through the contract of kernels/ops.h.
//   cmake --build BUILD --target cpu_kernels && BUILD/cpu_kernels [threads]
// Prints the best of many calls in GFLOP/s, and what part of the machine's best large product those
// of 256 rows and more reach: ours or, where libopenblas.so.0 is installed, OpenBLAS's. Attention
// counts visible pairs only: 4 d FLOPs forward, 10 d backward. SEQ1F1B_INSTRUCTION_SET=avx2 or
// =baseline times what processors with less run. benchmarks/cpu.md has results.
#include <dlfcn.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <vector>

#include "kernels/common/philox.h"
#include "kernels/device.h"
#include "kernels/ops.h"

namespace {

using namespace seq1f1b::kernels;
using Clock = std::chrono::steady_clock;

constexpr double kSecondsPerCase = 0.3;
constexpr int kLeastCalls = 3;

double seconds(Clock::duration duration) { return std::chrono::duration<double>(duration).count(); }

// The first call, which compiles and allocates, is not counted. The best call is the one that other
// programs disturbed least.
double best_seconds(const std::function<void()>& call) {
  call();
  double best = INFINITY;
  const auto begin = Clock::now();
  for (int n = 0; n < kLeastCalls || seconds(Clock::now() - begin) < kSecondsPerCase; ++n) {
    const auto start = Clock::now();
    call();
    best = std::min(best, seconds(Clock::now() - start));
  }
  return best;
}

// A tensor of fp32 noise that owns its memory.
class Noise {
 public:
  explicit Noise(std::initializer_list<std::int64_t> shape) : tensor_(nullptr, Dtype::kF32, shape) {
    values_.resize(static_cast<std::size_t>(tensor_.elements()));
    for (std::size_t i = 0; i < values_.size(); ++i)
      values_[i] = static_cast<float>(philox_uniform(philox(values_.size(), i)[0]) - 0.5);
    tensor_.data = values_.data();
  }
  operator const Tensor&() const { return tensor_; }

 private:
  std::vector<float> values_;
  Tensor tensor_;
};

struct LinearRates {
  double forward = 0, input_grad = 0, weight_grad = 0;  // GFLOP/s
};

LinearRates time_linear(Ops& ops, std::int64_t rows, std::int64_t in, std::int64_t out) {
  const Noise input({rows, in}), weight({out, in}), bias({out}), output({rows, out}),
      grad_output({rows, out}), grad_input({rows, in}), grad_weight({out, in}), grad_bias({out});
  const double work = 2e-9 * static_cast<double>(rows * in * out);
  const double forward =
      best_seconds([&] { ops.linear_forward(input, weight, bias, Tensor(), output); });
  const double input_grad =
      best_seconds([&] { ops.linear_input_grad(grad_output, weight, grad_input); });
  const double weight_grad =
      best_seconds([&] { ops.linear_weight_grad(grad_output, input, grad_weight, grad_bias); });
  const LinearRates rates{work / forward, work / input_grad, work / weight_grad};
  std::printf("| %ld | %ld | %ld | %.0f | %.0f | %.0f |\n", static_cast<long>(rows),
              static_cast<long>(in), static_cast<long>(out), rates.forward, rates.input_grad,
              rates.weight_grad);
  std::fflush(stdout);
  return rates;
}

constexpr std::int64_t kLarge = 2048;  // rows, columns and depth of the large product

// OpenBLAS on as many threads, in GFLOP/s; 0 where it is not installed.
double time_openblas(int threads) {
  void* const library = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
  if (!library) return 0;
  const auto set_threads =
      reinterpret_cast<void (*)(int)>(dlsym(library, "openblas_set_num_threads"));
  using Gemm = void (*)(int, int, int, int, int, int, float, const float*, int, const float*, int,
                        float, float*, int);
  const auto gemm = reinterpret_cast<Gemm>(dlsym(library, "cblas_sgemm"));
  if (!set_threads || !gemm) return 0;
  set_threads(threads);
  constexpr int kRowMajor = 101, kPlain = 111, n = kLarge;
  const Noise a({n, n}), b({n, n}), c({n, n});
  const double best = best_seconds([&] {
    gemm(kRowMajor, kPlain, kPlain, n, n, n, 1, static_cast<const Tensor&>(a).as<float>(), n,
         static_cast<const Tensor&>(b).as<float>(), n, 0, static_cast<const Tensor&>(c).as<float>(),
         n);
  });
  return 2e-9 * n * n * n / best;
}

void time_linears(Ops& ops, int threads) {
  std::printf(
      "| rows | in | out | forward | input grad | weight grad |\n"
      "| --- | --- | --- | --- | --- | --- |\n");
  LinearRates least{INFINITY, INFINITY, INFINITY};
  for (const auto& [rows, in, out] : {std::array<std::int64_t, 3>{1, 768, 768},
                                      {16, 768, 768},
                                      {64, 192, 192},
                                      {64, 192, 576},
                                      {64, 256, 1024},
                                      {128, 768, 192},
                                      {256, 256, 768},
                                      {256, 768, 768},
                                      {512, 256, 2048},
                                      {1024, 768, 2304},
                                      {1024, 1536, 384}}) {
    const LinearRates rates = time_linear(ops, rows, in, out);
    if (rows < 256) continue;
    least.forward = std::min(least.forward, rates.forward);
    least.input_grad = std::min(least.input_grad, rates.input_grad);
    least.weight_grad = std::min(least.weight_grad, rates.weight_grad);
  }
  const double ours = time_linear(ops, kLarge, kLarge, kLarge).forward;
  const double theirs = time_openblas(threads);
  const double best = std::max(ours, theirs);
  std::printf(
      "\nlarge product: ours %.0f, OpenBLAS %.0f; the least of 256 rows and more are %.0f %% of "
      "the "
      "better one forward, %.0f %% input grad, %.0f %% weight grad\n",
      ours, theirs, 100 * least.forward / best, 100 * least.input_grad / best,
      100 * least.weight_grad / best);
}

struct AttentionCase {
  std::int64_t micro_batch, tokens, heads, kv_heads, head_dim, query_start;
};

void time_attention(Ops& ops, const AttentionCase& c) {
  const std::int64_t length = c.query_start + c.tokens;
  const auto queries = {c.micro_batch, c.tokens, c.heads, c.head_dim};
  const auto keys = {c.micro_batch, c.kv_heads, length, c.head_dim};
  const Noise query(queries), output(queries), grad_output(queries), grad_query(queries), key(keys),
      value(keys), grad_key(keys), grad_value(keys),
      log_sum_exp({c.micro_batch, c.heads, c.tokens});
  const AttentionRange range{c.query_start, 0, length, nullptr};
  const double scale = 1 / std::sqrt(static_cast<double>(c.head_dim));
  const double forward = best_seconds(
      [&] { ops.attention_forward(query, key, value, range, scale, output, log_sum_exp); });
  const double backward = best_seconds([&] {
    ops.attention_backward(grad_output, query, key, value, output, log_sum_exp, range, scale,
                           grad_query, grad_key, grad_value, Accumulate::kAdd);
  });
  const double tokens = static_cast<double>(c.tokens);
  const double pairs = static_cast<double>(c.micro_batch * c.heads) *
                       (tokens * static_cast<double>(c.query_start) + tokens * (tokens + 1) / 2);
  const double unit = 1e-9 * pairs * static_cast<double>(c.head_dim);
  std::printf("| %ld | %ld | %ld | %ld/%ld | %ld | %.0f | %.0f | %.0f |\n",
              static_cast<long>(c.micro_batch), static_cast<long>(c.query_start),
              static_cast<long>(c.tokens), static_cast<long>(c.heads),
              static_cast<long>(c.kv_heads), static_cast<long>(c.head_dim), 4 * unit / forward,
              10 * unit / backward, 14 * unit / (forward + backward));
  std::fflush(stdout);
}

}  // namespace

int main(int count, char** arguments) {
  const int threads = count > 1 ? std::atoi(arguments[1]) : 1;
  if (threads < 1) {
    std::fprintf(stderr, "usage: cpu_kernels [threads]\n");
    return 2;
  }
  const Backend backend = make_cpu_backend(threads);
  std::printf("%s\n\n", backend.device->description().c_str());
  time_linears(*backend.ops, threads);
  std::printf(
      "\n| batch | prefix | tokens | heads | head size | forward | backward | both |\n"
      "| --- | --- | --- | --- | --- | --- | --- | --- |\n");
  for (const AttentionCase& c : {AttentionCase{1, 4096, 4, 4, 64, 0},
                                 {1, 1024, 4, 4, 64, 7168},
                                 {1, 64, 4, 4, 64, 0},
                                 {1, 64, 4, 4, 64, 192},
                                 {1, 256, 6, 6, 64, 256},
                                 {1, 256, 8, 2, 64, 256},
                                 {1, 128, 8, 8, 32, 128},
                                 {4, 100, 4, 4, 48, 100},
                                 {1, 512, 4, 4, 80, 512},
                                 {1, 512, 4, 4, 128, 512},
                                 {1, 512, 2, 2, 256, 512},
                                 {1, 1, 8, 2, 64, 1023}})
    time_attention(*backend.ops, c);
}
