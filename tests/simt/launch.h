#pragma once
// A kernel with its arguments, put on a stream.
#include <cuda_runtime_api.h>

#include <tuple>
#include <type_traits>
#include <utility>

#include "tests/simt/block.h"

namespace seq1f1b::simt {

// cudaErrorInvalidValue, cudaErrorInvalidConfiguration where a GPU would refuse the launch.
// `kernel` is what cudaFuncSetAttribute was told of.
cudaError_t enqueue_kernel(KernelCall call, const void* kernel, cudaStream_t stream);

// Arguments become parameters here, as by a call; every thread gets copies of its own.
template <class... Parameters, class... Arguments>
cudaError_t launch(const char* name, void (*kernel)(Parameters...), dim3 grid, dim3 block,
                   std::size_t shared_bytes, cudaStream_t stream, Arguments&&... arguments) {
  std::tuple<std::remove_cv_t<Parameters>...> parameters(std::forward<Arguments>(arguments)...);
  KernelCall call{name, grid, block, shared_bytes,
                  [kernel, parameters] { std::apply(kernel, parameters); }};
  return enqueue_kernel(std::move(call), reinterpret_cast<const void*>(kernel), stream);
}

}  // namespace seq1f1b::simt
