// Matrix products by BLIS (https://github.com/flame/blis), through its expert interface: the path
// for small matrices, which sums in another order by the number of rows, stays off, so that every
// element of the result is a sum over the depth in steps of one block size whatever the size of the
// call. The output is cut into a block per thread; where, changes no bit.
//
// The kernels are ours to choose, by instruction set: BLIS goes by the processor's model and takes
// its plain C kernels for models that it does not know.
#include <omp.h>

#include <algorithm>
#include <atomic>
#include <vector>

#include "kernels/common/errors.h"
#include "kernels/cpu/blis_kernels.h"
#include "kernels/cpu/products.h"

namespace seq1f1b::kernels::cpu {

cntx_t* blis_kernels(arch_t processor) {
  bli_init();
  if (bli_gks_lookup_id(processor) == nullptr)
    throw Error(kExitUnexpected,
                concat("the BLIS of this program lacks the kernels \"", bli_arch_string(processor),
                       "\": install one that has those of all processors of this kind (Debian, "
                       "Ubuntu: libblis-serial-dev; from source: `configure x86_64` or `arm64`), "
                       "and build again"));
  return const_cast<cntx_t*>(bli_gks_lookup_nat_cntx(processor));
}

namespace {

// Below this the fork of a team of threads, a few microseconds, would not be repaid.
constexpr double kLeastFlopsPerThread = 250e3;

// BLIS's kernels for an instruction set, and the multiples in which its register blocks count the
// rows and columns of c.
struct Kernels {
  cntx_t* context;
  std::int64_t row_unit, column_unit;
};

Kernels choose_kernels(Isa isa) {
#if defined(__x86_64__)
  // AVX2's serve AVX-512 as well where oneDNN is kept from it.
  if (isa != Isa::kBaseline) return {blis_kernels(BLIS_ARCH_HASWELL), 6, 16};
  // SSE3 is all that the kernels need, which every processor of this kind but the very first have.
  return {blis_kernels(__builtin_cpu_supports("sse3") ? BLIS_ARCH_PENRYN : BLIS_ARCH_GENERIC), 4,
          8};
#else
  (void)isa;
  bli_init();
  return {blis_kernels(bli_arch_query_id()), 8, 16};
#endif
}

// BLIS keeps packed copies in a pool of the process, which grows with the number of threads that
// multiply at once. Takes what `threads` need together, so that it does not grow in a later step.
std::size_t reserve_packing(cntx_t* context, int threads) {
  const auto most = [&](bszid_t size) {
    return static_cast<std::size_t>(bli_cntx_get_blksz_max_dt(BLIS_FLOAT, size, context));
  };
  const std::size_t depth = most(BLIS_KC);
  const std::size_t edge = std::max(most(BLIS_MR), most(BLIS_NR));
  const std::size_t sizes[] = {(most(BLIS_MC) + edge) * depth * sizeof(float),
                               (most(BLIS_NC) + edge) * depth * sizeof(float)};
  const packbuf_t kinds[] = {BLIS_BUFFER_FOR_A_BLOCK, BLIS_BUFFER_FOR_B_PANEL};
#if defined(BLIS_VERSION_STRING)  // since 1.0
  pba_t* const pool = bli_pba_query();
#else
  rntm_t runtime;
  bli_rntm_init_from_global(&runtime);
  bli_pba_rntm_set_pba(&runtime);
  rntm_t* const pool = &runtime;
#endif
  for (int kind = 0; kind < 2; ++kind) {
    std::vector<mem_t> blocks(static_cast<std::size_t>(threads));
    for (mem_t& block : blocks) bli_pba_acquire_m(pool, sizes[kind], kinds[kind], &block);
    for (mem_t& block : blocks) bli_pba_release(pool, &block);
  }
  return sizes[0] + sizes[1];
}

// Threads of all living objects: as many may multiply at once.
std::atomic<int> threads_in_use{0};

class BlisProducts final : public Products<float> {
 public:
  BlisProducts(int threads, Isa isa) : threads_(threads), kernels_(choose_kernels(isa)) {
    SEQ1F1B_ASSERT(threads >= 1, "threads ", threads);
    packing_bytes_ = reserve_packing(kernels_.context, threads_in_use += threads);
  }
  ~BlisProducts() override { threads_in_use -= threads_; }

  void run_weight_grad(const Product<float>& product) override { run(product); }
  void run(const Product<float>& product) override {
    const Grid grid = cut(product);
    const std::int64_t blocks = grid.rows * grid.columns;
    const std::int64_t tasks = blocks + grad_bias_tasks(product);
    const auto task = [&](std::int64_t index) {
      if (index < blocks)
        multiply(product, grid, index);
      else
        run_grad_bias_task(product, index - blocks);
    };
    if (blocks == 1) {
      for (std::int64_t index = 0; index < tasks; ++index) task(index);
      return;
    }
#pragma omp parallel for num_threads(threads_) schedule(dynamic, 1)
    for (std::int64_t index = 0; index < tasks; ++index) task(index);
  }

  std::size_t bytes() const override { return packing_bytes_ * static_cast<std::size_t>(threads_); }

 private:
  struct Grid {
    std::int64_t rows = 1, columns = 1;  // blocks
  };

  // One block per thread. Every block packs its rows of a and its columns of b, so that a grid
  // costs rows * depth * grid.columns + columns * depth * grid.rows elements of packing.
  Grid cut(const Product<float>& product) const {
    const double flops = 2.0 * static_cast<double>(product.rows) *
                         static_cast<double>(product.columns) * static_cast<double>(product.depth);
    const auto worth = static_cast<std::int64_t>(
        std::clamp(flops / kLeastFlopsPerThread, 1.0, static_cast<double>(threads_)));
    Grid best;
    std::int64_t least = -1;
    for (std::int64_t rows = 1; rows <= worth; ++rows) {
      if (worth % rows != 0) continue;
      const std::int64_t columns = worth / rows;
      if (rows * kernels_.row_unit > product.rows + kernels_.row_unit - 1 ||
          columns * kernels_.column_unit > product.columns + kernels_.column_unit - 1)
        continue;
      const std::int64_t packed = product.rows * columns + product.columns * rows;
      if (least >= 0 && packed >= least) continue;
      least = packed;
      best = {rows, columns};
    }
    return best;
  }

  // The bounds of block `index` of `blocks` over `size`, in whole units.
  static std::pair<std::int64_t, std::int64_t> range(std::int64_t size, std::int64_t unit,
                                                     std::int64_t blocks, std::int64_t index) {
    const std::int64_t units = (size + unit - 1) / unit;
    return {std::min(size, units * index / blocks * unit),
            std::min(size, units * (index + 1) / blocks * unit)};
  }

  void multiply(const Product<float>& p, const Grid& grid, std::int64_t block) const {
    const auto [row, row_end] = range(p.rows, kernels_.row_unit, grid.rows, block / grid.columns);
    const auto [column, column_end] =
        range(p.columns, kernels_.column_unit, grid.columns, block % grid.columns);
    if (row == row_end || column == column_end) return;
    float* const c = p.c + row * p.columns + column;
    const std::int64_t rows = row_end - row, columns = column_end - column;
    const bool add = put_addends(p, row, rows, column, columns);

    float one = 1, beta = add ? 1 : 0;
    rntm_t runtime;  // BLIS_RNTM_INITIALIZER is not C++ in every version
    bli_rntm_init_from_global(&runtime);
    bli_rntm_set_num_threads(1, &runtime);
    bli_rntm_disable_l3_sup(&runtime);
    bli_sgemm_ex(BLIS_NO_TRANSPOSE, BLIS_NO_TRANSPOSE, rows, columns, p.depth, &one,
                 const_cast<float*>(p.a + row * p.a_row_stride()), p.a_row_stride(),
                 p.a_depth_stride(), const_cast<float*>(p.b + column * p.b_column_stride()),
                 p.b_depth_stride(), p.b_column_stride(), &beta, c, p.columns, 1, kernels_.context,
                 &runtime);
  }

  // Bias and residual into c, for the product to be added to; false where there are none.
  static bool put_addends(const Product<float>& p, std::int64_t first_row, std::int64_t rows,
                          std::int64_t first_column, std::int64_t columns) {
    if (!p.bias && !p.residual) return false;
    if (!p.bias && p.residual == p.c) return true;
    const float* const bias = p.bias ? p.bias + first_column : nullptr;
    for (std::int64_t row = first_row; row < first_row + rows; ++row) {
      float* const c = p.c + row * p.columns + first_column;
      const float* const residual =
          p.residual ? p.residual + row * p.columns + first_column : nullptr;
      if (bias && residual)
        for (std::int64_t n = 0; n < columns; ++n) c[n] = bias[n] + residual[n];
      else
        std::copy_n(bias ? bias : residual, columns, c);
    }
    return true;
  }

  int threads_;
  Kernels kernels_;
  std::size_t packing_bytes_ = 0;  // per thread
};

}  // namespace

std::unique_ptr<Products<float>> make_blis_products(int threads, Isa isa) {
  return std::make_unique<BlisProducts>(threads, isa);
}

}  // namespace seq1f1b::kernels::cpu
