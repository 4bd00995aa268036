#include <algorithm>
#include <cstring>

#include "kernels/reference/kernels.h"

namespace seq1f1b::kernels::reference {

template <class T>
void Movement<T>::fill(const Tensor& output, double value) {
  const std::int64_t count = output.elements();
  if (output.dtype == Dtype::kI32)
    std::fill_n(output.as<std::int32_t>(), count, static_cast<std::int32_t>(value));
  else
    std::fill_n(output.as<T>(), count, static_cast<T>(value));
}

template <class T>
void Movement<T>::copy(const Tensor& input, const Tensor& output) {
  std::memcpy(output.data, input.data, input.bytes());
}

template <class T>
void Movement<T>::cast(const Tensor& input, const Tensor& output) {
  copy(input, output);  // one type computes and accumulates
}

template <class T>
void Movement<T>::accumulate(const Tensor& input, const Tensor& output) {
  const T* source = input.as<T>();
  T* target = output.as<T>();
  for (std::int64_t i = 0; i < input.elements(); ++i) target[i] += source[i];
}

template struct Movement<float>;
template struct Movement<double>;

}  // namespace seq1f1b::kernels::reference
