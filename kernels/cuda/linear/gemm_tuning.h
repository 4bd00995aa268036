#pragma once
// Choices of linear.cpp between one product with an epilogue and a product beside a kernel of ours.
// None has been measured on a GPU yet; the reasons are counted bytes and what others report.

namespace seq1f1b::kernels::cuda {

struct GemmTuning {
  // gelu inside the product that feeds it, and its gradient inside the product behind it: saves
  // writing and reading [T, ffn] once each. llm.c (llmc/matmul.cuh) reports the fused form to be
  // slow before compute capability 9.0. bf16 only: fp32 runs exist to be compared with others.
  bool gelu_in_epilogue = false;
  // grad_bias inside the product of grad_weight (BGRADB) saves reading grad_output, 2 T out bytes,
  // once more. But the library overwrites, so that an addition follows, and does not say in which
  // order it sums; the kernel of bias.cu adds in a fixed order.
  bool bias_grad_in_epilogue = false;
};

constexpr GemmTuning gemm_tuning(int architecture) {
  return {.gelu_in_epilogue = architecture >= 90, .bias_grad_in_epilogue = false};
}

}  // namespace seq1f1b::kernels::cuda
