#include "kernels/cpu/products.h"

#include <algorithm>

namespace seq1f1b::kernels::cpu {
namespace {

constexpr std::int64_t kColumns = 256;  // of grad_output per task
constexpr std::int64_t kRows = 64;      // of grad_output per partial sum

}  // namespace

template <>
std::unique_ptr<Products<float>> make_products<float>(int threads, Isa isa) {
  if (isa == Isa::kAvx512 && onednn_uses_avx512()) return make_onednn_products(threads);
  return make_blis_products(threads, isa);
}

std::int64_t grad_bias_tasks(const Product<float>& product) {
  return product.grad_bias ? (product.rows + kColumns - 1) / kColumns : 0;
}

void run_grad_bias_task(const Product<float>& product, std::int64_t task) {
  const std::int64_t first = task * kColumns;
  const std::int64_t count = std::min(kColumns, product.rows - first);
  for (std::int64_t begin = 0; begin < product.depth; begin += kRows) {
    float partial[kColumns] = {};
    const std::int64_t end = std::min(product.depth, begin + kRows);
    for (std::int64_t t = begin; t < end; ++t) {
      const float* row = product.a + t * product.rows + first;
      for (std::int64_t o = 0; o < count; ++o) partial[o] += row[o];
    }
    for (std::int64_t o = 0; o < count; ++o) product.grad_bias[first + o] += partial[o];
  }
}

}  // namespace seq1f1b::kernels::cpu
