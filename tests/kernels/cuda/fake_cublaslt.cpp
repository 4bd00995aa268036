#include "tests/kernels/cuda/fake_cublaslt.h"

#include <cublasLt.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <map>
#include <vector>

#include "kernels/common/bf16.h"

namespace seq1f1b::kernels::testing {
namespace {

struct Description {
  std::map<int, std::vector<unsigned char>> attributes;
  template <class T>
  T get(int attribute, T otherwise = {}) const {
    const auto found = attributes.find(attribute);
    if (found == attributes.end()) return otherwise;
    T value;
    if (found->second.size() != sizeof value) std::abort();
    std::memcpy(&value, found->second.data(), sizeof value);
    return value;
  }
  void set(int attribute, const void* value, std::size_t bytes) {
    const auto* const first = static_cast<const unsigned char*>(value);
    attributes[attribute].assign(first, first + bytes);
  }
};

struct Matrix {
  cudaDataType_t type;
  std::int64_t rows, columns, leading;
};

double load(const void* data, cudaDataType_t type, std::int64_t index) {
  if (type == CUDA_R_16BF) return static_cast<float>(static_cast<const Bf16*>(data)[index]);
  return static_cast<const float*>(data)[index];
}
void store(void* data, cudaDataType_t type, std::int64_t index, double value) {
  if (type == CUDA_R_16BF)
    static_cast<Bf16*>(data)[index] = Bf16(static_cast<float>(value));
  else
    static_cast<float*>(data)[index] = static_cast<float>(value);
}

constexpr double kRoot = 0.7978845608028654;  // sqrt(2 / pi)
double gelu(double x) { return 0.5 * x * (1 + std::tanh(kRoot * (x + 0.044715 * x * x * x))); }
double gelu_slope(double x) {
  const double t = std::tanh(kRoot * (x + 0.044715 * x * x * x));
  return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * kRoot * (1 + 3 * 0.044715 * x * x);
}

template <class Real, class Handle>
Real& real(Handle handle) {
  return *reinterpret_cast<Real*>(handle);
}
bool shapes_agree(const Description& op, const Matrix& a, const Matrix& b, const Matrix& d) {
  const bool ta = op.get(CUBLASLT_MATMUL_DESC_TRANSA, CUBLAS_OP_N) == CUBLAS_OP_T;
  const bool tb = op.get(CUBLASLT_MATMUL_DESC_TRANSB, CUBLAS_OP_N) == CUBLAS_OP_T;
  return (ta ? a.columns : a.rows) == d.rows && (tb ? b.rows : b.columns) == d.columns &&
         (ta ? a.rows : a.columns) == (tb ? b.columns : b.rows);
}

// What an algorithm may count on of its pointers, as it was chosen for.
constexpr int kAlignments[] = {
    CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
    CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES};
constexpr std::uint64_t kUnstatedAlignment = 256;  // cublasLt.h
bool is_aligned(const void* pointer, std::uint64_t bytes) {
  return reinterpret_cast<std::uintptr_t>(pointer) % bytes == 0;
}

// cublasLt.h, cublasLtEpilogue_t: what the epilogues ask of their operands; of a bias, gemm.h.
bool epilogue_is_well_formed(const Description& op, const Matrix& d, float beta) {
  const auto epilogue = op.get(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_DEFAULT);
  const bool biased = epilogue == CUBLASLT_EPILOGUE_BIAS ||
                      epilogue == CUBLASLT_EPILOGUE_GELU_AUX_BIAS ||
                      epilogue == CUBLASLT_EPILOGUE_BGRADB;
  const bool has_aux = epilogue == CUBLASLT_EPILOGUE_GELU_AUX ||
                       epilogue == CUBLASLT_EPILOGUE_GELU_AUX_BIAS ||
                       epilogue == CUBLASLT_EPILOGUE_DGELU;
  const void* const bias = op.get<void*>(CUBLASLT_MATMUL_DESC_BIAS_POINTER);
  if (biased && !(bias && is_aligned(bias, 16))) return false;
  if (biased && op.get<std::int32_t>(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, -1) !=
                    static_cast<std::int32_t>(d.type))
    return false;
  if (!has_aux) return true;
  const void* const aux = op.get<void*>(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER);
  const auto leading = op.get<std::int64_t>(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD);
  return aux && is_aligned(aux, 16) && leading % 8 == 0 && leading >= d.rows && beta == 0;
}

}  // namespace

FakeCublasLt& fake_cublaslt() {
  static FakeCublasLt state;
  return state;
}

}  // namespace seq1f1b::kernels::testing

using namespace seq1f1b::kernels::testing;

extern "C" {

const char* cublasLtGetStatusString(cublasStatus_t) { return "a status of the fake"; }
cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  *handle = reinterpret_cast<cublasLtHandle_t>(new int);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
  delete reinterpret_cast<int*>(handle);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* made, cublasComputeType_t compute,
                                        cudaDataType_t scale) {
  if (compute != CUBLAS_COMPUTE_32F || scale != CUDA_R_32F) return CUBLAS_STATUS_INVALID_VALUE;
  *made = reinterpret_cast<cublasLtMatmulDesc_t>(new Description);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t made) {
  delete reinterpret_cast<Description*>(made);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t op,
                                              cublasLtMatmulDescAttributes_t attribute,
                                              const void* value, size_t bytes) {
  real<Description>(op).set(attribute, value, bytes);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* made, cudaDataType type,
                                          uint64_t rows, uint64_t columns, int64_t leading) {
  if (leading < static_cast<int64_t>(rows)) return CUBLAS_STATUS_INVALID_VALUE;
  *made = reinterpret_cast<cublasLtMatrixLayout_t>(new Matrix{
      type, static_cast<std::int64_t>(rows), static_cast<std::int64_t>(columns), leading});
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t made) {
  delete reinterpret_cast<Matrix*>(made);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* made) {
  *made = reinterpret_cast<cublasLtMatmulPreference_t>(new Description);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t made) {
  delete reinterpret_cast<Description*>(made);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute,
                                                    const void* value, size_t bytes) {
  real<Description>(preference).set(attribute, value, bytes);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t op,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int requested,
                                              cublasLtMatmulHeuristicResult_t results[],
                                              int* found) {
  FakeCublasLt& state = fake_cublaslt();
  ++state.choices;
  const auto& wishes = real<Description>(preference);
  state.reduction_mask = wishes.get<uint32_t>(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK);
  state.workspace_bytes = wishes.get<uint64_t>(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES);
  *found = 0;
  if (requested < 1 ||
      !shapes_agree(real<Description>(op), real<Matrix>(a), real<Matrix>(b), real<Matrix>(d)))
    return CUBLAS_STATUS_INVALID_VALUE;
  if (state.refuse) return CUBLAS_STATUS_NOT_SUPPORTED;
  if (state.invalid) return CUBLAS_STATUS_INVALID_VALUE;
  results[0] = {};
  results[0].state = CUBLAS_STATUS_SUCCESS;
  for (std::size_t i = 0; i < std::size(kAlignments); ++i)
    results[0].algo.data[i] =
        wishes.get<std::uint32_t>(kAlignments[i], std::uint32_t{kUnstatedAlignment});
  *found = 1;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t op_handle, const void* alpha,
                              const void* a, cublasLtMatrixLayout_t a_handle, const void* b,
                              cublasLtMatrixLayout_t b_handle, const void* beta, const void* c,
                              cublasLtMatrixLayout_t c_handle, void* d,
                              cublasLtMatrixLayout_t d_handle, const cublasLtMatmulAlgo_t* algo,
                              void* workspace, size_t workspace_bytes, cudaStream_t) {
  const auto& op = real<Description>(op_handle);
  const auto &am = real<Matrix>(a_handle), &bm = real<Matrix>(b_handle),
             &cm = real<Matrix>(c_handle), &dm = real<Matrix>(d_handle);
  if (!shapes_agree(op, am, bm, dm) || !workspace ||
      workspace_bytes < fake_cublaslt().workspace_bytes || !is_aligned(workspace, 16))
    return CUBLAS_STATUS_INVALID_VALUE;
  const void* const operands[] = {a, b, c, d};
  for (std::size_t i = 0; i < std::size(operands); ++i)
    if (!is_aligned(operands[i], algo->data[i])) return CUBLAS_STATUS_INVALID_VALUE;
  if (!epilogue_is_well_formed(op, dm, *static_cast<const float*>(beta)))
    return CUBLAS_STATUS_INVALID_VALUE;
  const bool ta = op.get(CUBLASLT_MATMUL_DESC_TRANSA, CUBLAS_OP_N) == CUBLAS_OP_T;
  const bool tb = op.get(CUBLASLT_MATMUL_DESC_TRANSB, CUBLAS_OP_N) == CUBLAS_OP_T;
  const auto epilogue = op.get(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_DEFAULT);
  void* const bias = op.get<void*>(CUBLASLT_MATMUL_DESC_BIAS_POINTER);
  void* const aux = op.get<void*>(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER);
  const auto aux_leading = op.get<int64_t>(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD);
  const auto bias_type =
      static_cast<cudaDataType_t>(op.get<int32_t>(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE));
  const auto aux_type =
      static_cast<cudaDataType_t>(op.get<int32_t>(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_DATA_TYPE));
  const std::int64_t depth = ta ? am.rows : am.columns;
  const bool biased =
      epilogue == CUBLASLT_EPILOGUE_BIAS || epilogue == CUBLASLT_EPILOGUE_GELU_AUX_BIAS;

  for (std::int64_t j = 0; j < dm.columns; ++j) {
    double column_sum = 0;  // of op(b)
    for (std::int64_t k = 0; k < depth; ++k)
      column_sum += load(b, bm.type, tb ? j + k * bm.leading : k + j * bm.leading);
    if (epilogue == CUBLASLT_EPILOGUE_BGRADB) store(bias, bias_type, j, column_sum);
    for (std::int64_t i = 0; i < dm.rows; ++i) {
      double sum = 0;
      for (std::int64_t k = 0; k < depth; ++k)
        sum += load(a, am.type, ta ? k + i * am.leading : i + k * am.leading) *
               load(b, bm.type, tb ? j + k * bm.leading : k + j * bm.leading);
      sum *= *static_cast<const float*>(alpha);
      // With beta = 0 the library does not read c, which may then hold anything.
      if (const float factor = *static_cast<const float*>(beta); factor != 0)
        sum += factor * load(c, cm.type, i + j * cm.leading);
      if (biased) sum += load(bias, bias_type, i);
      if (epilogue == CUBLASLT_EPILOGUE_GELU_AUX || epilogue == CUBLASLT_EPILOGUE_GELU_AUX_BIAS) {
        store(aux, aux_type, i + j * aux_leading, sum);
        sum = gelu(sum);
      }
      if (epilogue == CUBLASLT_EPILOGUE_DGELU)
        sum *= gelu_slope(load(aux, aux_type, i + j * aux_leading));
      store(d, dm.type, i + j * dm.leading, sum);
    }
  }
  return CUBLAS_STATUS_SUCCESS;
}

}  // extern "C"
