#include <algorithm>
#include <cstring>

#include "kernels/reference/kernels.h"

namespace seq1f1b::kernels::reference {
namespace {

// Through A: of its values every C is one, and every A rounds to a C.
template <class From, class To, class A>
void convert(const Tensor& input, const Tensor& output) {
  const auto* source = input.as<const From>();
  auto* target = output.as<To>();
  for (std::int64_t i = 0; i < input.elements(); ++i)
    target[i] = static_cast<To>(static_cast<A>(source[i]));
}

}  // namespace

template <class C, class A>
void Movement<C, A>::fill(const Tensor& output, double value) {
  const std::int64_t count = output.elements();
  if (output.dtype == Dtype::kI32)
    std::fill_n(output.as<std::int32_t>(), count, static_cast<std::int32_t>(value));
  else if (dtype_bytes(output.dtype) == sizeof(A))
    std::fill_n(output.as<A>(), count, static_cast<A>(value));
  else
    std::fill_n(output.as<C>(), count, static_cast<C>(static_cast<A>(value)));
}

template <class C, class A>
void Movement<C, A>::copy(const Tensor& input, const Tensor& output) {
  std::memcpy(output.data, input.data, input.bytes());
}

template <class C, class A>
void Movement<C, A>::cast(const Tensor& input, const Tensor& output) {
  if (input.dtype == output.dtype)
    copy(input, output);
  else if (dtype_bytes(input.dtype) == sizeof(A))
    convert<A, C, A>(input, output);
  else
    convert<C, A, A>(input, output);
}

template <class C, class A>
void Movement<C, A>::accumulate(const Tensor& input, const Tensor& output) {
  const A* source = input.as<const A>();
  A* target = output.as<A>();
  for (std::int64_t i = 0; i < input.elements(); ++i) target[i] += source[i];
}

template struct Movement<double, double>;
template struct Movement<float, float>;
template struct Movement<Bf16, float>;

}  // namespace seq1f1b::kernels::reference
