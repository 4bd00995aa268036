// Gemm by cuBLASLt. The library thinks in columns: a row-major matrix is its transpose there, so
// the product asked for is output^T = op(b)^T op(a)^T, with the operands exchanged. Its rows of the
// output are then our columns, along which its bias runs, as ours does.
//
// Bits: the library gives equal bits for equal calls on equal GPUs as long as its workspace is not
// shared by concurrent streams (cuBLAS manual, "Results reproducibility"), and has no algorithm
// with floating-point atomics among those left here: splits of k are either summed up in a step of
// their own, or, where determinism is not asked for, in the output in order of counters.
#include <cublasLt.h>

#include <algorithm>
#include <bit>
#include <map>
#include <optional>
#include <tuple>

#include "kernels/cuda/linear/gemm.h"

namespace seq1f1b::kernels::cuda {
namespace {

void check(cublasStatus_t status, const char* what) {
  if (status != CUBLAS_STATUS_SUCCESS) [[unlikely]]
    throw Error(kExitUnexpected, concat("cuBLASLt, ", what, ": ", cublasLtGetStatusString(status)));
}

cudaDataType_t data_type(Dtype dtype) { return dtype == Dtype::kBf16 ? CUDA_R_16BF : CUDA_R_32F; }

// The largest power of two, up to 256, that divides the address; 256 for null.
std::uint32_t alignment(const void* pointer) {
  const auto address = reinterpret_cast<std::uintptr_t>(pointer) | 256;
  return 1u << std::countr_zero(address);
}

template <class Handle, cublasStatus_t (*kDestroy)(Handle)>
struct Owned {
  Handle handle = nullptr;
  Owned() = default;
  Owned(Owned&& other) noexcept : handle(std::exchange(other.handle, nullptr)) {}
  ~Owned() {
    if (handle) kDestroy(handle);
  }
};
using Operation = Owned<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy>;
using Layout = Owned<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy>;
using Preference = Owned<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy>;

template <class T>
void set(const Operation& operation, cublasLtMatmulDescAttributes_t attribute, const T& value) {
  check(cublasLtMatmulDescSetAttribute(operation.handle, attribute, &value, sizeof value),
        "describing a product");
}
template <class T>
void set(const Preference& preference, cublasLtMatmulPreferenceAttributes_t attribute,
         const T& value) {
  check(cublasLtMatmulPreferenceSetAttribute(preference.handle, attribute, &value, sizeof value),
        "stating preferences");
}

// A row-major matrix [rows, columns].
Layout layout(Dtype dtype, std::int64_t rows, std::int64_t columns) {
  Layout made;
  check(cublasLtMatrixLayoutCreate(&made.handle, data_type(dtype),
                                   static_cast<std::uint64_t>(columns),
                                   static_cast<std::uint64_t>(rows), columns),
        "describing a matrix");
  return made;
}

cublasLtEpilogue_t library_epilogue(const GemmProblem& problem) {
  switch (problem.epilogue) {
    case Epilogue::kNone:
      return CUBLASLT_EPILOGUE_DEFAULT;
    case Epilogue::kBias:
      return CUBLASLT_EPILOGUE_BIAS;
    case Epilogue::kGeluAuxBias:
      return problem.bias ? CUBLASLT_EPILOGUE_GELU_AUX_BIAS : CUBLASLT_EPILOGUE_GELU_AUX;
    case Epilogue::kDgelu:
      return CUBLASLT_EPILOGUE_DGELU;
    case Epilogue::kBiasGrad:
      return CUBLASLT_EPILOGUE_BGRADB;  // its b is our a
  }
  throw InternalError("unknown epilogue");
}

// Everything that the choice of an algorithm may depend on.
using Key = std::tuple<std::int64_t, std::int64_t, std::int64_t, bool, bool, Dtype, Dtype, Epilogue,
                       int, std::uint32_t, std::uint32_t, std::uint32_t, std::uint32_t,
                       std::uint32_t, std::uint32_t, bool>;

Key key_of(const GemmProblem& p, bool deterministic) {
  const int addend = !p.addend ? 0 : p.addend == p.output ? 1 : 2;
  return {p.m,
          p.n,
          p.k,
          p.transpose_a,
          p.transpose_b,
          p.input_dtype,
          p.output_dtype,
          p.epilogue,
          addend * 2 + (p.bias ? 1 : 0),
          alignment(p.a),
          alignment(p.b),
          alignment(p.output),
          alignment(p.addend),
          alignment(p.bias),
          alignment(p.aux),
          deterministic};
}

void check_problem(const GemmProblem& p) {
  const bool gelu = p.epilogue == Epilogue::kGeluAuxBias || p.epilogue == Epilogue::kDgelu;
  const bool biased = p.epilogue == Epilogue::kBias || p.epilogue == Epilogue::kBiasGrad;
  SEQ1F1B_ASSERT(p.m > 0 && p.n > 0 && p.k > 0, "product ", p.m, " x ", p.n, " x ", p.k);
  SEQ1F1B_ASSERT(p.a && p.b && p.output, "an operand is absent");
  SEQ1F1B_ASSERT(!gelu || (p.aux && !p.addend), "gelu wants aux and no addend");
  SEQ1F1B_ASSERT(!biased || p.bias, "the bias is absent");
  SEQ1F1B_ASSERT(alignment(p.bias) >= 16, "the bias is not aligned to 16 bytes");
  SEQ1F1B_ASSERT(p.output_dtype == p.input_dtype || p.output_dtype == Dtype::kF32, "types ",
                 dtype_name(p.input_dtype), " to ", dtype_name(p.output_dtype));
}

// One product, described, with its algorithm.
struct Plan {
  Operation operation;
  Layout a, b, output;
  std::optional<cublasLtMatmulAlgo_t> algorithm;  // none: not supported

  Plan(cublasLtHandle_t library, const GemmProblem& problem, bool deterministic);
  void point_at(const GemmProblem& problem);
};

Plan::Plan(cublasLtHandle_t library, const GemmProblem& p, bool deterministic)
    : a(p.transpose_a ? layout(p.input_dtype, p.k, p.m) : layout(p.input_dtype, p.m, p.k)),
      b(p.transpose_b ? layout(p.input_dtype, p.n, p.k) : layout(p.input_dtype, p.k, p.n)),
      output(layout(p.output_dtype, p.m, p.n)) {
  // Full fp32 for fp32 operands: TF32 is another compute type.
  check(cublasLtMatmulDescCreate(&operation.handle, CUBLAS_COMPUTE_32F, CUDA_R_32F),
        "describing a product");
  set(operation, CUBLASLT_MATMUL_DESC_TRANSA, p.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N);
  set(operation, CUBLASLT_MATMUL_DESC_TRANSB, p.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N);
  set(operation, CUBLASLT_MATMUL_DESC_EPILOGUE, library_epilogue(p));
  const auto output_type = static_cast<std::int32_t>(data_type(p.output_dtype));
  if (p.bias) set(operation, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, output_type);
  if (p.aux) {
    // Conditions of the library on aux: its leading dimension, and 16 bytes for its pointer.
    if (p.n % 8 != 0 || alignment(p.aux) < 16) return;
    set(operation, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, p.n);
    set(operation, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_DATA_TYPE, output_type);
  }
  point_at(p);

  Preference preference;
  check(cublasLtMatmulPreferenceCreate(&preference.handle), "stating preferences");
  set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, std::uint64_t{kGemmWorkspaceBytes});
  std::uint32_t reductions =
      CUBLASLT_REDUCTION_SCHEME_NONE | CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
  if (!deterministic && p.output_dtype == Dtype::kF32)  // in bf16 it would round every part
    reductions |= CUBLASLT_REDUCTION_SCHEME_INPLACE;
  set(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, reductions);
  const void* const addend = p.addend ? p.addend : p.output;
  set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment(p.b));
  set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment(p.a));
  set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment(addend));
  set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment(p.output));

  cublasLtMatmulHeuristicResult_t best{};
  int found = 0;
  const cublasStatus_t status =
      cublasLtMatmulAlgoGetHeuristic(library, operation.handle, b.handle, a.handle, output.handle,
                                     output.handle, preference.handle, 1, &best, &found);
  // An epilogue that the library cannot do with these types is an invalid value to it, too
  // (cublasLt.h, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_DATA_TYPE); linear.cpp does without.
  if (status == CUBLAS_STATUS_NOT_SUPPORTED || (p.aux && status == CUBLAS_STATUS_INVALID_VALUE))
    return;
  check(status, "choosing an algorithm");
  if (found > 0 && best.state == CUBLAS_STATUS_SUCCESS) algorithm = best.algo;
}

void Plan::point_at(const GemmProblem& p) {
  if (p.bias) set(operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, p.bias);
  if (p.aux) set(operation, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, p.aux);
}

}  // namespace

struct Gemm::State {
  Owned<cublasLtHandle_t, cublasLtDestroy> library;
  std::map<Key, Plan> plans;

  Plan& plan(const GemmProblem& problem, bool deterministic) {
    check_problem(problem);
    const Key key = key_of(problem, deterministic);
    auto found = plans.find(key);
    if (found == plans.end())
      found = plans.emplace(key, Plan(library.handle, problem, deterministic)).first;
    return found->second;
  }
};

Gemm::Gemm() : state_(std::make_unique<State>()) {
  check(cublasLtCreate(&state_->library.handle), "starting");
}
Gemm::~Gemm() = default;

bool Gemm::supports(const Context& context, const GemmProblem& problem) {
  return state_->plan(problem, context.deterministic).algorithm.has_value();
}

void Gemm::run(Context& context, const GemmProblem& problem) {
  Plan& plan = state_->plan(problem, context.deterministic);
  if (!plan.algorithm)
    throw Error(
        kExitUnexpected,
        concat("cuBLASLt has no algorithm for a product of ", problem.m, " x ", problem.n, " x ",
               problem.k, " from ", dtype_name(problem.input_dtype), " to ",
               dtype_name(problem.output_dtype), " with epilogue ",
               static_cast<int>(problem.epilogue), " in ", kGemmWorkspaceBytes >> 20,
               " MiB of workspace; sizes that are multiples of 8 have the most",
               context.deterministic ? ", and runtime.deterministic=false allows more" : ""));
  plan.point_at(problem);
  auto* const workspace = context.scratch.take<std::byte>(kGemmWorkspaceBytes);
  const float one = 1, beta = problem.addend ? 1 : 0;
  const void* const addend = problem.addend ? problem.addend : problem.output;
  check(cublasLtMatmul(state_->library.handle, plan.operation.handle, &one, problem.b,
                       plan.b.handle, problem.a, plan.a.handle, &beta, addend, plan.output.handle,
                       problem.output, plan.output.handle, &*plan.algorithm, workspace,
                       kGemmWorkspaceBytes, context.stream),
        "issuing a product");
}

}  // namespace seq1f1b::kernels::cuda
