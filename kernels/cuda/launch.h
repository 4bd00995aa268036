#pragma once
// What launchers of memory-bound kernels share: the choice of element type and packet width, and
// the size of grids.
#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "kernels/common/bf16.h"
#include "kernels/common/tensor.h"
#include "kernels/cuda/context.h"

namespace seq1f1b::kernels::cuda {

template <class T>
struct ElementType {
  using Type = T;
};

// Calls `use` with an ElementType of the compute type.
template <class Use>
void with_compute_type(Dtype dtype, Use use) {
  if (dtype == Dtype::kBf16)
    use(ElementType<Bf16>{});
  else
    use(ElementType<float>{});
}

// Calls `use` with kWidth (as an integral_constant) where `wide`, else with 1.
template <int kWidth, class Use>
void with_width(bool wide, Use use) {
  if (wide)
    use(std::integral_constant<int, kWidth>{});
  else
    use(std::integral_constant<int, 1>{});
}

// Whether all tensors begin at a multiple of `bytes`; absent ones do.
template <class... Tensors>
bool aligned_to(std::uintptr_t bytes, const Tensors&... tensors) {
  return ((reinterpret_cast<std::uintptr_t>(tensors.data) % bytes == 0) && ...);
}

constexpr std::int64_t ceil_div(std::int64_t count, std::int64_t size) {
  return (count + size - 1) / size;
}

// Whole warps.
constexpr int round_to_warps(std::int64_t threads) {
  return static_cast<int>(ceil_div(threads, 32) * 32);
}

// Blocks of a loop with the grid's stride over `tiles`: as many as the device holds at once.
inline unsigned loop_grid(const Context& context, std::int64_t tiles, int blocks_at_once = 8) {
  return static_cast<unsigned>(
      std::min<std::int64_t>(tiles, std::int64_t{context.multiprocessors} * blocks_at_once));
}

inline std::int64_t last_dim(const Tensor& tensor) { return tensor.dim(tensor.rank - 1); }

}  // namespace seq1f1b::kernels::cuda
