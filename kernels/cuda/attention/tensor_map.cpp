#include "kernels/cuda/attention/tensor_map.h"

#include "kernels/common/errors.h"
#ifndef SEQ1F1B_SIMT
#include "kernels/cuda/check.h"
#endif

namespace seq1f1b::kernels::cuda {
namespace {
constexpr std::uint64_t kElementBytes = 2;
}  // namespace

bool tensor_map_serves(const void* base, const TensorMapShape& shape) {
  if (reinterpret_cast<std::uintptr_t>(base) % 16 != 0) return false;
  for (std::uint64_t stride : shape.stride)
    if (stride * kElementBytes % 16 != 0 || stride * kElementBytes >= (std::uint64_t{1} << 40))
      return false;
  for (std::uint64_t extent : shape.extent)
    if (extent < 1 || extent > (std::uint64_t{1} << 32)) return false;
  return true;
}

namespace {
void check_shape(const void* base, const TensorMapShape& shape) {
  SEQ1F1B_ASSERT(tensor_map_serves(base, shape), "a tensor that TMA cannot address");
  for (std::uint32_t steps : shape.box)
    SEQ1F1B_ASSERT(steps >= 1 && steps <= 256, "a box of ", steps, " steps");
  SEQ1F1B_ASSERT(shape.box[0] * kElementBytes == 128, "a box that is no row of the swizzle wide");
}
}  // namespace

#ifdef SEQ1F1B_SIMT
TensorMap make_tensor_map(const void* base, const TensorMapShape& shape) {
  check_shape(base, shape);
  return {const_cast<void*>(base), shape};
}
#else
namespace {

using Encode = decltype(&cuTensorMapEncodeTiled);

// The driver's function by way of the runtime: the module does not link libcuda, so that it loads
// where there is no driver.
Encode encode_function() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
  constexpr const char* kName = "cuTensorMapEncodeTiled";
#if CUDART_VERSION >= 12050  // CUDA 13 has this one alone
  const cudaError_t error =
      cudaGetDriverEntryPointByVersion(kName, &function, 12000, cudaEnableDefault, &found);
#else
  const cudaError_t error = cudaGetDriverEntryPoint(kName, &function, cudaEnableDefault, &found);
#endif
  check(error, "looking for cuTensorMapEncodeTiled in the driver");
  if (found != cudaDriverEntryPointSuccess || !function)
    throw Error(kExitUnexpected,
                "CUDA: this driver has no cuTensorMapEncodeTiled. Hint: it came with CUDA 12.0; "
                "update the driver.");
  return reinterpret_cast<Encode>(function);
}

}  // namespace

TensorMap make_tensor_map(const void* base, const TensorMapShape& shape) {
  check_shape(base, shape);
  static const Encode encode = encode_function();
  cuuint64_t extent[4], stride_bytes[3];
  cuuint32_t box[4], step[4] = {1, 1, 1, 1};
  for (int i = 0; i < 4; ++i) extent[i] = shape.extent[i], box[i] = shape.box[i];
  for (int i = 0; i < 3; ++i) stride_bytes[i] = shape.stride[i] * kElementBytes;
  TensorMap map;
  const CUresult result =
      encode(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 4, const_cast<void*>(base), extent,
             stride_bytes, box, step, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS)
    throw Error(kExitUnexpected,
                concat("CUDA, describing a tensor of ", extent[0], " x ", extent[1], " x ",
                       extent[2], " x ", extent[3], " for TMA: error ", static_cast<int>(result)));
  return map;
}
#endif

}  // namespace seq1f1b::kernels::cuda
