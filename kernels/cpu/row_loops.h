#pragma once
// The inner loops of the element-wise and row-wise operations, in fp32 arithmetic on one thread,
// compiled once per instruction set. Sums run in an order that depends on the length and the
// instruction set alone.
#include <cstdint>

#include "kernels/cpu/isa.h"

namespace seq1f1b::kernels::cpu {

struct NormStatistics {
  float mean, rstd;
};

// What one AdamW step multiplies and adds; see Ops::adamw.
struct AdamwConstants {
  float beta1, rest1, beta2, rest2;  // rest = 1 - beta
  float inverse_correction1, inverse_correction2;
  float epsilon, learning_rate, weight_decay, gradient_scale;
};

// T is what compute tensors are stored in; sums, statistics and accumulate tensors are fp32. Null
// pointers are allowed where a comment says so.
template <class T>
struct RowLoops {
  // y[i] = x[i], rounded where y is the narrower
  void (*widen)(const T* x, float* y, std::int64_t count);
  void (*narrow)(const float* x, T* y, std::int64_t count);
  // y[i] += x[i]
  void (*add)(const T* x, float* y, std::int64_t count);
  void (*accumulate)(const float* x, float* y, std::int64_t count);
  // y[i] = a[i] + b[i]
  void (*sum)(const T* a, const T* b, T* y, std::int64_t count);
  void (*scale)(float factor, T* y, std::int64_t count);

  NormStatistics (*norm_statistics)(const T* input, bool centred, float epsilon,
                                    std::int64_t width);
  // bias may be null
  void (*norm_apply)(const T* input, NormStatistics, const T* weight, const T* bias, T* output,
                     std::int64_t width);
  // grad_residual and grad_bias may be null; grad_weight and grad_bias are added to
  void (*norm_backward)(const T* grad_output, const T* input, NormStatistics, bool centred,
                        const T* weight, const T* grad_residual, T* grad_input, float* grad_weight,
                        float* grad_bias, std::int64_t width);

  void (*gelu_forward)(const T* input, T* output, std::int64_t count);
  // grad_input may be grad_output
  void (*gelu_backward)(const T* input, const T* grad_output, T* grad_input, std::int64_t count);
  void (*swiglu_forward)(const T* gate, const T* up, T* output, std::int64_t count);
  void (*swiglu_backward)(const T* gate, const T* up, const T* grad_output, T* grad_gate,
                          T* grad_up, std::int64_t count);

  // Turns the `half` pairs of one head by the angles of cosine[half] and sine[half], the sine times
  // `direction` (1 or -1). The second reads an accumulate tensor.
  void (*rotate)(const T* input, const float* cosine, const float* sine, float direction,
                 bool interleaved, T* output, std::int64_t half);
  void (*rotate_accumulated)(const float* input, const float* cosine, const float* sine,
                             float direction, bool interleaved, T* output, std::int64_t half);

  // exps[i] = exp(exps[i] - max); returns max and the sum of the results.
  void (*softmax_terms)(T* exps, std::int64_t count, float* max, double* sum);
  void (*exponential)(const float* input, float* output, std::int64_t count);

  double (*sum_of_squares)(const float* input, std::int64_t count);
  // On the fp32 weights: the master copy where T is narrower.
  void (*adamw)(const AdamwConstants&, const float* gradient, float* weight, float* first_moment,
                float* second_moment, std::int64_t count);
};

// The loops compiled for `isa`, which must be available. Instantiated in row_loops.inc.
template <class T>
const RowLoops<T>& row_loops(Isa isa);

}  // namespace seq1f1b::kernels::cpu
