// Matrix products by oneDNN. The output is cut into blocks of rows whose sizes depend on the shape
// alone; every block is one product that the library blocked for a single thread, and our threads
// share the blocks. So the number of threads changes no bit.
#include <omp.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <map>
#include <vector>

#include "kernels/common/errors.h"
#include "kernels/cpu/onednn.h"
#include "kernels/cpu/products.h"

namespace seq1f1b::kernels::cpu {
namespace {

constexpr std::size_t kAlignment = 64;  // a cache line and the widest vector

// Every product is dense: a block is whole rows of the output, and of a transposed operand it gets
// a copy of its columns. oneDNN 2.x has its fast products for dense operands only; what it takes
// for others allocates in every call. benchmarks/cpu.md has the measurements behind the sizes.
constexpr std::int64_t kWeightBlock = 512;  // rows of a block of grad_weight
constexpr std::int64_t kWeightWorthSplitting = 256;
constexpr std::int64_t kPanel = 64;  // rows that the library works on together
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

class OneDnnProducts final : public Products<float> {
 public:
  explicit OneDnnProducts(int threads) : threads_(threads) {
    SEQ1F1B_ASSERT(threads >= 1, "threads ", threads);
  }
  void run(const Product<float>& product) override;
  void run_weight_grad(const Product<float>& product) override { run(product); }
  std::size_t bytes() const override { return scratch_bytes_ * static_cast<std::size_t>(threads_); }

 private:
  // The products of one shape: the output in blocks of rows, and a compiled product for each of the
  // at most two sizes of a block.
  struct Plan {
    std::int64_t block_rows = 0, row_blocks = 0;
    bool packs_a = false;                       // blocks get a dense copy of their part of a
    std::size_t library_scratch = 0;            // per thread; the copy lies behind it
    std::unique_ptr<Matmul> products[2];        // all but the last block; the last
    std::vector<float> few_rows_a, few_rows_c;  // the operands of a call of less than kMinRows rows
  };
  // (kind, rows, columns, depth, has bias, adds to the output)
  using Key = std::array<std::int64_t, 6>;

  Plan& plan(const Product<float>& product);
  void run_blocks(const Plan& plan, const Product<float>& product);

  int threads_;
  std::map<Key, std::unique_ptr<Plan>> plans_;
  std::size_t scratch_bytes_ = 0;  // per thread
  std::unique_ptr<std::byte[]> scratch_;
};

OneDnnProducts::Plan& OneDnnProducts::plan(const Product<float>& product) {
  const std::int64_t rows = product.rows;
  auto& entry = plans_[Key{static_cast<std::int64_t>(product.kind), rows, product.columns,
                           product.depth, product.bias != nullptr, product.residual != nullptr}];
  if (entry) return *entry;

  auto plan = std::make_unique<Plan>();
  const bool transposed_a = product.kind == ProductKind::kWeightGrad;
  plan->block_rows = transposed_a ? split_weight(rows) : split_rows(rows);
  // A short rest joins the block before it (see kMinRows).
  plan->row_blocks =
      std::max<std::int64_t>(1, ceil_div(rows - std::min(rows, kMinRows - 1), plan->block_rows));
  plan->packs_a = transposed_a && plan->row_blocks > 1;
  const std::int64_t rows_before = (plan->row_blocks - 1) * plan->block_rows;
  for (int last = 0; last < 2; ++last) {
    if (!last && rows_before == 0) continue;
    MatmulShape block;
    block.rows = last ? rows - rows_before : plan->block_rows;
    block.columns = product.columns;
    block.depth = product.depth;
    block.a_row_stride = product.a_row_stride();
    block.a_depth_stride = plan->packs_a ? block.rows : product.a_depth_stride();
    block.b_depth_stride = product.b_depth_stride();
    block.b_column_stride = product.b_column_stride();
    block.c_row_stride = product.columns;
    block.bias = product.bias != nullptr;
    block.add_to_c = product.residual != nullptr;
    plan->products[last] = std::make_unique<Matmul>(block, threads_);
    plan->library_scratch =
        std::max(plan->library_scratch, aligned(plan->products[last]->scratch_bytes()));
  }
  std::size_t scratch = plan->library_scratch;
  if (plan->packs_a) {
    const std::int64_t most = std::max(plan->block_rows, rows - rows_before);
    scratch += aligned(static_cast<std::size_t>(most * product.depth) * sizeof(float));
  }
  if (scratch > scratch_bytes_) {
    scratch_.reset(new std::byte[scratch * static_cast<std::size_t>(threads_) + kAlignment]);
    scratch_bytes_ = scratch;
  }
  entry = std::move(plan);
  return *entry;
}

void OneDnnProducts::run_blocks(const Plan& plan, const Product<float>& product) {
  const std::int64_t tasks = plan.row_blocks + grad_bias_tasks(product);
  const auto base = reinterpret_cast<std::uintptr_t>(scratch_.get());
  std::byte* const scratch = scratch_.get() + (kAlignment - base % kAlignment) % kAlignment;
  std::atomic<bool> good{true};

  const auto task = [&](std::int64_t index, int thread) {
    if (index >= plan.row_blocks) return run_grad_bias_task(product, index - plan.row_blocks);
    const std::int64_t row = index * plan.block_rows;
    const bool last = index == plan.row_blocks - 1;
    const std::int64_t rows = last ? product.rows - row : plan.block_rows;
    float* const c = product.c + row * product.columns;
    if (product.residual && product.residual != product.c)
      std::copy_n(product.residual + row * product.columns, rows * product.columns, c);
    std::byte* const own = scratch + static_cast<std::size_t>(thread) * scratch_bytes_;
    const float* a = product.a + row * product.a_row_stride();
    if (plan.packs_a) {
      auto* copy = reinterpret_cast<float*>(own + plan.library_scratch);
      for (std::int64_t k = 0; k < product.depth; ++k)
        std::copy_n(a + k * product.a_depth_stride(), rows, copy + k * rows);
      a = copy;
    }
    if (!plan.products[last]->run(thread, a, product.b, product.bias, c, own)) good = false;
  };
#pragma omp parallel num_threads(threads_)
  {
    const SingleThread single;
    const int thread = omp_get_thread_num();
#pragma omp for schedule(dynamic, 1)
    for (std::int64_t index = 0; index < tasks; ++index) task(index, thread);
  }
  SEQ1F1B_ASSERT(good.load(), "oneDNN failed to run a product of ", product.rows, " x ",
                 product.columns, " x ", product.depth);
}

void OneDnnProducts::run(const Product<float>& product) {
  if (product.kind == ProductKind::kWeightGrad || product.rows >= kMinRows)
    return run_blocks(plan(product), product);

  Product<float> filled = product;
  filled.rows = kMinRows;
  Plan& chosen = plan(filled);
  chosen.few_rows_a.resize(static_cast<std::size_t>(kMinRows * product.depth));
  chosen.few_rows_c.resize(static_cast<std::size_t>(kMinRows * product.columns));
  std::copy_n(product.a, product.rows * product.depth, chosen.few_rows_a.begin());
  if (product.residual)
    std::copy_n(product.residual, product.rows * product.columns, chosen.few_rows_c.begin());
  filled.a = chosen.few_rows_a.data();
  filled.c = chosen.few_rows_c.data();
  if (product.residual) filled.residual = filled.c;
  run_blocks(chosen, filled);
  std::copy_n(filled.c, product.rows * product.columns, product.c);
}

}  // namespace

std::unique_ptr<Products<float>> make_onednn_products(int threads) {
  return std::make_unique<OneDnnProducts>(threads);
}

}  // namespace seq1f1b::kernels::cpu
