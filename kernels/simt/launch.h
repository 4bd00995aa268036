#pragma once
// A kernel with its arguments, put on a stream.
#include <cuda_runtime_api.h>

#include <tuple>
#include <type_traits>
#include <utility>

#include "kernels/simt/block.h"
#include "kernels/simt/kernel_count.h"

namespace seq1f1b::simt {

// cudaErrorInvalidValue, cudaErrorInvalidConfiguration where a GPU would refuse the launch.
// `kernel` is what cudaFuncSetAttribute was told of.
cudaError_t enqueue_kernel(KernelCall call, const void* kernel, KernelCount& count,
                           cudaStream_t stream);

// Under the address sanitizer a block of its own, the same for every asking, so that a kernel that
// leaves one piece of an arena is not taken to be at work on the next; else `place`. The block
// keeps what the last to have it wrote.
std::byte* piece_of_memory(std::byte* place, std::size_t bytes);

template <class Function>
struct ParametersOf;
template <class... Parameters>
struct ParametersOf<void (*)(Parameters...)> {
  using Tuple = std::tuple<std::remove_cv_t<Parameters>...>;
};

// Arguments become parameters here, as by a call; every thread gets copies of its own.
template <auto kKernel, class... Arguments>
cudaError_t launch(const char* name, dim3 grid, dim3 block, std::size_t shared_bytes,
                   cudaStream_t stream, Arguments&&... arguments) {
  typename ParametersOf<decltype(kKernel)>::Tuple parameters(std::forward<Arguments>(arguments)...);
  KernelCall call{name, grid, block, shared_bytes,
                  [parameters] { std::apply(kKernel, parameters); }};
  return enqueue_kernel(std::move(call), reinterpret_cast<const void*>(kKernel),
                        CountOf<kKernel>::count, stream);
}

}  // namespace seq1f1b::simt
