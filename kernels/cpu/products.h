#pragma once
// The one adapter between linear layers and the libraries that multiply matrices, chosen by storage
// type and instruction set: make_products<T> is the place of that choice, and a further type is a
// specialisation of it. Whatever the library, the contract of kernels/ops.h holds: a row of the
// result depends on no other row of the call, the number of threads changes no bit, and once a
// shape has been used nothing large is allocated for it. No library promises that; the tests of row
// independence decide (tests/kernels/row_independence_test.cpp), and benchmarks/cpu.md has the
// trials.
//
//   fp32   AVX-512               oneDNN, whose products for dense operands keep the contract there
//          AVX2, baseline        BLIS; oneDNN cuts the depth by the number of rows there
#include <cstddef>
#include <cstdint>
#include <memory>

#include "kernels/cpu/isa.h"

namespace seq1f1b::kernels::cpu {

// Which operands are transposed in memory.
enum class ProductKind : std::uint8_t {
  kForward,    // a [rows, depth], b [columns, depth]
  kInputGrad,  // a [rows, depth], b [depth, columns]
  kWeightGrad  // a [depth, rows], b [depth, columns]
};

// c[m, n] = sum_k a[m, k] * b[k, n] (+ bias[n]) (+ residual[m, n]), everything dense and row-major.
// kWeightGrad has no bias, residual is c, and where grad_bias is present
// grad_bias[m] += sum_k a[m, k], too. T is what compute tensors are stored in; Out is float where c
// is an accumulate tensor, as in kWeightGrad.
template <class T, class Out = T>
struct Product {
  ProductKind kind = ProductKind::kForward;
  std::int64_t rows = 0, columns = 0, depth = 0;  // m, n, k
  const T* a = nullptr;
  const T* b = nullptr;
  const T* bias = nullptr;        // null: none
  const Out* residual = nullptr;  // null: none; may be c
  Out* c = nullptr;
  float* grad_bias = nullptr;  // null: none

  std::int64_t a_row_stride() const { return kind == ProductKind::kWeightGrad ? 1 : depth; }
  std::int64_t a_depth_stride() const { return kind == ProductKind::kWeightGrad ? rows : 1; }
  std::int64_t b_depth_stride() const { return kind == ProductKind::kForward ? 1 : columns; }
  std::int64_t b_column_stride() const { return kind == ProductKind::kForward ? depth : 1; }
};

// One object per issuing thread; several objects may be used at once.
template <class T>
class Products {
 public:
  virtual ~Products() = default;
  virtual void run(const Product<T>& product) = 0;                     // kForward, kInputGrad
  virtual void run_weight_grad(const Product<T, float>& product) = 0;  // kWeightGrad
  // Scratch held now, packed copies included. Generated code is not known to us.
  virtual std::size_t bytes() const = 0;
};

// On `threads` >= 1 threads, of which the results do not depend; for an `isa` that is available.
// Throws Error(kExitUnexpected) where a library refuses.
template <class T>
std::unique_ptr<Products<T>> make_products(int threads, Isa isa);
template <>
std::unique_ptr<Products<float>> make_products<float>(int threads, Isa isa);

// The libraries, each in the file of its name, for fp32.
std::unique_ptr<Products<float>> make_blis_products(int threads, Isa isa);
std::unique_ptr<Products<float>> make_onednn_products(int threads);
// Whether oneDNN would use AVX-512: its own environment variable may keep it from it, and then its
// products do not keep the contract.
bool onednn_uses_avx512();

// grad_bias of a kWeightGrad, cut by columns of grad_output into tasks [0, count) that may run side
// by side.
std::int64_t grad_bias_tasks(const Product<float>& product);
void run_grad_bias_task(const Product<float>& product, std::int64_t task);

}  // namespace seq1f1b::kernels::cpu
