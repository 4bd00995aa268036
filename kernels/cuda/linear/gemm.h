#pragma once
// The seam to a library of matrix products: what linear.cpp asks for, in row-major terms.
// Implemented by gemm_cublaslt.cpp on the GPU, and by plain loops for the emulator of kernels/simt.
#include <cstddef>
#include <cstdint>
#include <memory>

#include "kernels/common/tensor.h"
#include "kernels/cuda/context.h"
#include "kernels/cuda/linear/scratch_linear.h"

namespace seq1f1b::kernels::cuda {

// What happens to the sum s[i, j] of a product before it is stored.
enum class Epilogue : std::uint8_t {
  kNone,         // output = s + addend
  kBias,         // output = s + bias[j] + addend
  kGeluAuxBias,  // aux = s + bias[j], rounded to its type; output = gelu(s + bias[j])
  kDgelu,        // output = s * gelu'(aux[i, j])
  kBiasGrad,     // output = s + addend; bias[i] = sum over k of op(a)[i, k], written, not added
};

// s[i, j] = sum over k of op(a)[i, k] * op(b)[k, j], summed in fp32; i < m, j < n.
// Every matrix is dense and row-major, on the device, aligned to its element. gelu is the tanh
// form.
struct GemmProblem {
  std::int64_t m = 0, n = 0, k = 0;  // all positive
  const void* a = nullptr;           // [m, k]; [k, m] where transpose_a
  const void* b = nullptr;           // [k, n]; [n, k] where transpose_b
  bool transpose_a = false, transpose_b = false;
  void* output = nullptr;        // [m, n]
  const void* addend = nullptr;  // [m, n], of output's type, may be output itself; null: zero.
                                 // Not with the two gelu epilogues
  Epilogue epilogue = Epilogue::kNone;
  // kBias, kGeluAuxBias: input [n], of output's type; null with kGeluAuxBias: zero. kBiasGrad:
  // output [m], fp32. At a multiple of 16 bytes: the library's kernels take that for granted, and
  // no preference can tell it otherwise (pytorch/pytorch#194497: "misaligned address").
  void* bias = nullptr;
  void* aux = nullptr;                // [m, n], of output's type: output of kGeluAuxBias, input of
                                      // kDgelu
  Dtype input_dtype = Dtype::kBf16;   // of a and b: kBf16 or kF32
  Dtype output_dtype = Dtype::kBf16;  // input_dtype or kF32
};

// Not thread-safe; of the device that is current when it is made. The first call of a shape chooses
// an algorithm, on the host, which later calls of that shape, types, epilogue and alignment keep.
// fp32 products use no TF32. With Context::deterministic equal calls give equal bits.
class Gemm {
 public:
  Gemm();
  ~Gemm();
  Gemm(const Gemm&) = delete;
  Gemm& operator=(const Gemm&) = delete;

  // Whether run() has an algorithm for it: the products without gelu always have one. Reads no
  // device memory.
  bool supports(const Context& context, const GemmProblem& problem);
  // Issues on context.stream, with kGemmWorkspaceBytes (scratch_linear.h) of context.scratch.
  // Throws Error where there is no algorithm.
  void run(Context& context, const GemmProblem& problem);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace seq1f1b::kernels::cuda
