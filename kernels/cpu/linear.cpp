#include "kernels/cpu/linear.h"

#include <omp.h>

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "kernels/cpu/onednn.h"

namespace seq1f1b::kernels::cpu {
namespace {

constexpr std::size_t kAlignment = 64;      // a cache line and the widest vector
constexpr std::int64_t kBiasColumns = 256;  // columns of grad_bias per task
constexpr std::int64_t kBiasRows = 64;      // rows of grad_output per partial sum

// Every product is dense: a block is whole rows of the output, and of a transposed operand it gets a
// copy of its columns. oneDNN 2.x has its fast products for dense operands only; what it takes for
// others allocates in every call. benchmarks/cpu.md has the measurements behind the sizes.
constexpr std::int64_t kWeightBlock = 512;        // rows of a block of grad_weight
constexpr std::int64_t kWeightWorthSplitting = 256;
constexpr std::int64_t kPanel = 64;               // rows that the library works on together
// Below 16 rows the library takes paths that sum in another order; such calls are filled up, so
// that a token has the same bits alone (when sampling) and in company.
constexpr std::int64_t kMinRows = 16;

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

std::size_t aligned(std::size_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

// The height of row blocks: few rows need blocks for every thread, many repay the copy of the
// weight that each block makes.
std::int64_t split_rows(std::int64_t rows) { return rows <= 128 ? 64 : rows < 512 ? 128 : 256; }

// The same for grad_weight, whose rows are many: near-equal blocks, at least two where it pays.
std::int64_t split_weight(std::int64_t rows) {
  if (rows < kWeightWorthSplitting) return rows;
  const std::int64_t blocks = std::max<std::int64_t>(2, ceil_div(rows, kWeightBlock));
  return ceil_div(ceil_div(rows, blocks), kPanel) * kPanel;
}

// sum[o] += sum over rows of grad_output[t, o] for the columns [first, last).
void add_column_sums(const float* grad_output, std::int64_t rows, std::int64_t stride,
                     std::int64_t first, std::int64_t last, float* sum) {
  for (std::int64_t begin = 0; begin < rows; begin += kBiasRows) {
    float partial[kBiasColumns] = {};
    const std::int64_t end = std::min(rows, begin + kBiasRows);
    for (std::int64_t t = begin; t < end; ++t) {
      const float* row = grad_output + t * stride + first;
      for (std::int64_t o = 0; o < last - first; ++o) partial[o] += row[o];
    }
    for (std::int64_t o = 0; o < last - first; ++o) sum[first + o] += partial[o];
  }
}

// The full checks are the back end's (kernels/common/shape_checks.h); these keep a wrong size from
// reaching the library.
void check(const Tensor& tensor, std::int64_t elements, const char* role) {
  SEQ1F1B_ASSERT(tensor && tensor.dtype == Dtype::kF32 && tensor.elements() == elements, role,
                 " is ", describe(tensor), ", expected ", elements, " elements of fp32");
}

std::int64_t last_dim(const Tensor& tensor) {
  SEQ1F1B_ASSERT(tensor && tensor.rank >= 1, "absent or without dimensions");
  return tensor.dim(tensor.rank - 1);
}

}  // namespace

// The products of one shape: the output in blocks of rows, and a compiled product for each of the at
// most two sizes of a block.
struct Linear::Plan {
  MatmulShape whole;
  std::int64_t block_rows = 0, row_blocks = 0;
  bool packs_a = false;                       // blocks get a dense copy of their part of a
  std::size_t library_scratch = 0;            // per thread; the copy lies behind it
  std::unique_ptr<Matmul> products[2];        // all but the last block; the last
  std::vector<float> few_rows_a, few_rows_c;  // the operands of a call of less than kMinRows rows
};

struct Linear::Call {
  const float* a;
  const float* b;
  const float* bias;  // null: none
  const float*
      residual;  // copied to the output before the product adds to it; null: nothing to copy
  float* c;      // the output
  const float* summed = nullptr;  // grad_output whose rows are added to grad_bias
  float* grad_bias = nullptr;
};

Linear::Linear(int threads) : threads_(threads) {
  SEQ1F1B_ASSERT(threads >= 1, "threads ", threads);
}
Linear::~Linear() = default;

std::size_t Linear::bytes() const { return scratch_bytes_ * static_cast<std::size_t>(threads_); }

Linear::Plan& Linear::plan(Product product, std::int64_t rows, std::int64_t columns,
                           std::int64_t depth, bool bias, bool add) {
  auto& entry = plans_[Key{static_cast<std::int64_t>(product), rows, columns, depth, bias, add}];
  if (entry) return *entry;

  auto plan = std::make_unique<Plan>();
  MatmulShape& shape = plan->whole;
  shape.rows = rows;
  shape.columns = columns;
  shape.depth = depth;
  shape.c_row_stride = columns;
  shape.bias = bias;
  shape.add_to_c = add;
  const bool transposed_a = product == Product::kWeightGrad;
  const bool transposed_b = product == Product::kForward;
  shape.a_row_stride = transposed_a ? 1 : depth;
  shape.a_depth_stride = transposed_a ? rows : 1;
  shape.b_depth_stride = transposed_b ? 1 : columns;
  shape.b_column_stride = transposed_b ? depth : 1;

  plan->block_rows = transposed_a ? split_weight(rows) : split_rows(rows);
  // A short rest joins the block before it (see kMinRows).
  plan->row_blocks =
      std::max<std::int64_t>(1, ceil_div(rows - std::min(rows, kMinRows - 1), plan->block_rows));
  plan->packs_a = transposed_a && plan->row_blocks > 1;
  const std::int64_t rows_before = (plan->row_blocks - 1) * plan->block_rows;
  for (int last = 0; last < 2; ++last) {
    if (!last && rows_before == 0) continue;
    MatmulShape block = shape;
    block.rows = last ? rows - rows_before : plan->block_rows;
    if (plan->packs_a) block.a_depth_stride = block.rows;
    plan->products[last] = std::make_unique<Matmul>(block, threads_);
    plan->library_scratch =
        std::max(plan->library_scratch, aligned(plan->products[last]->scratch_bytes()));
  }
  std::size_t scratch = plan->library_scratch;
  if (plan->packs_a) {
    const std::int64_t most = std::max(plan->block_rows, rows - rows_before);
    scratch += aligned(static_cast<std::size_t>(most * depth) * sizeof(float));
  }
  if (scratch > scratch_bytes_) {
    scratch_.reset(new std::byte[scratch * static_cast<std::size_t>(threads_) + kAlignment]);
    scratch_bytes_ = scratch;
  }
  entry = std::move(plan);
  return *entry;
}

void Linear::run(const Plan& plan, const Call& call) {
  const MatmulShape& shape = plan.whole;
  const std::int64_t products = plan.row_blocks;
  const std::int64_t sums = call.grad_bias ? ceil_div(shape.rows, kBiasColumns) : 0;
  const auto base = reinterpret_cast<std::uintptr_t>(scratch_.get());
  std::byte* const scratch = scratch_.get() + (kAlignment - base % kAlignment) % kAlignment;
  std::atomic<bool> good{true};

  const auto task = [&](std::int64_t index, int thread) {
    if (index >= products) {
      const std::int64_t first = (index - products) * kBiasColumns;
      add_column_sums(call.summed, shape.depth, shape.rows, first,
                      std::min(shape.rows, first + kBiasColumns), call.grad_bias);
      return;
    }
    const std::int64_t row = index * plan.block_rows;
    const bool last = index == plan.row_blocks - 1;
    const std::int64_t rows = last ? shape.rows - row : plan.block_rows;
    float* const c = call.c + row * shape.columns;
    if (call.residual)
      std::copy_n(call.residual + row * shape.columns, rows * shape.columns, c);
    std::byte* const own = scratch + static_cast<std::size_t>(thread) * scratch_bytes_;
    const float* a = call.a + row * shape.a_row_stride;
    if (plan.packs_a) {
      auto* copy = reinterpret_cast<float*>(own + plan.library_scratch);
      for (std::int64_t k = 0; k < shape.depth; ++k)
        std::copy_n(a + k * shape.a_depth_stride, rows, copy + k * rows);
      a = copy;
    }
    if (!plan.products[last]->run(thread, a, call.b, call.bias, c, own))
      good = false;
  };
#pragma omp parallel num_threads(threads_)
  {
    const SingleThread single;
    const int thread = omp_get_thread_num();
#pragma omp for schedule(dynamic, 1)
    for (std::int64_t index = 0; index < products + sums; ++index) task(index, thread);
  }
  SEQ1F1B_ASSERT(good.load(), "oneDNN failed to run a product of ", shape.rows, " x ",
                 shape.columns, " x ", shape.depth);
}

void Linear::run_rows(Product product, std::int64_t rows, std::int64_t columns, std::int64_t depth,
                      Call call) {
  const bool add = call.residual != nullptr;
  if (call.residual == call.c) call.residual = nullptr;  // in its place already
  Plan& chosen = plan(product, std::max(rows, kMinRows), columns, depth, call.bias != nullptr, add);
  if (rows >= kMinRows) return run(chosen, call);

  chosen.few_rows_a.resize(static_cast<std::size_t>(kMinRows * depth));
  chosen.few_rows_c.resize(static_cast<std::size_t>(kMinRows * columns));
  float* const output = call.c;
  std::copy_n(call.a, rows * depth, chosen.few_rows_a.begin());
  if (add)
    std::copy_n(call.residual ? call.residual : output, rows * columns, chosen.few_rows_c.begin());
  call.a = chosen.few_rows_a.data();
  call.residual = nullptr;
  call.c = chosen.few_rows_c.data();
  run(chosen, call);
  std::copy_n(call.c, rows * columns, output);
}

void Linear::forward(const Tensor& input, const Tensor& weight, const Tensor& bias,
                     const Tensor& residual, const Tensor& output) {
  const std::int64_t in = last_dim(input), out = last_dim(output);
  const std::int64_t rows = input.elements() / in;
  check(input, rows * in, "input");
  check(weight, out * in, "weight");
  check(output, rows * out, "output");
  if (bias) check(bias, out, "bias");
  if (residual) check(residual, rows * out, "residual");
  run_rows(Product::kForward, rows, out, in,
           {input.as<float>(), weight.as<float>(), bias.as<float>(), residual.as<float>(),
            output.as<float>()});
}

void Linear::input_grad(const Tensor& grad_output, const Tensor& weight, const Tensor& grad_input) {
  const std::int64_t out = last_dim(grad_output), in = last_dim(grad_input);
  const std::int64_t rows = grad_output.elements() / out;
  check(grad_output, rows * out, "grad_output");
  check(weight, out * in, "weight");
  check(grad_input, rows * in, "grad_input");
  run_rows(Product::kInputGrad, rows, in, out,
           {grad_output.as<float>(), weight.as<float>(), nullptr, nullptr, grad_input.as<float>()});
}

void Linear::weight_grad(const Tensor& grad_output, const Tensor& input, const Tensor& grad_weight,
                         const Tensor& grad_bias) {
  const std::int64_t out = last_dim(grad_output), in = last_dim(input);
  const std::int64_t rows = input.elements() / in;
  check(grad_output, rows * out, "grad_output");
  check(input, rows * in, "input");
  check(grad_weight, out * in, "grad_weight");
  if (grad_bias) check(grad_bias, out, "grad_bias");
  run(plan(Product::kWeightGrad, out, in, rows, false, true),
      {grad_output.as<float>(), input.as<float>(), nullptr, nullptr, grad_weight.as<float>(),
       grad_output.as<float>(), grad_bias.as<float>()});
}

}  // namespace seq1f1b::kernels::cpu
