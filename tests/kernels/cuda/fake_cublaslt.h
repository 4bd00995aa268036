#pragma once
// The part of cuBLASLt that gemm_cublaslt.cpp calls, computed on the host as NVIDIA's manual
// describes it, in columns: what we ask the library for can be checked without a GPU.
#include <cstdint>

namespace seq1f1b::kernels::testing {

struct FakeCublasLt {
  int choices = 0;                   // calls for an algorithm
  std::uint32_t reduction_mask = 0;  // of the last of them
  std::uint64_t workspace_bytes = 0;
  bool refuse = false;   // finds no algorithm
  bool invalid = false;  // calls every product invalid
};
FakeCublasLt& fake_cublaslt();

}  // namespace seq1f1b::kernels::testing
