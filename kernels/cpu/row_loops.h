#pragma once
// The inner loops of the element-wise and row-wise operations, in fp32 on one thread, compiled once
// per instruction set. Sums run in an order that depends on the length and the instruction set
// alone.
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

// Null pointers are allowed where a comment says so.
struct RowLoops {
  // y[i] += x[i]
  void (*add)(const float* x, float* y, std::int64_t count);
  // y[i] = a[i] + b[i]
  void (*sum)(const float* a, const float* b, float* y, std::int64_t count);
  void (*scale)(float factor, float* y, std::int64_t count);

  NormStatistics (*norm_statistics)(const float* input, bool centred, float epsilon,
                                    std::int64_t width);
  // bias may be null
  void (*norm_apply)(const float* input, NormStatistics, const float* weight, const float* bias,
                     float* output, std::int64_t width);
  // grad_residual and grad_bias may be null; grad_weight and grad_bias are added to
  void (*norm_backward)(const float* grad_output, const float* input, NormStatistics, bool centred,
                        const float* weight, const float* grad_residual, float* grad_input,
                        float* grad_weight, float* grad_bias, std::int64_t width);

  void (*gelu_forward)(const float* input, float* output, std::int64_t count);
  // grad_input may be grad_output
  void (*gelu_backward)(const float* input, const float* grad_output, float* grad_input,
                        std::int64_t count);
  void (*swiglu_forward)(const float* gate, const float* up, float* output, std::int64_t count);
  void (*swiglu_backward)(const float* gate, const float* up, const float* grad_output,
                          float* grad_gate, float* grad_up, std::int64_t count);

  // Turns the `half` pairs of one head by the angles of cosine[half] and sine[half], the sine times
  // `direction` (1 or -1).
  void (*rotate)(const float* input, const float* cosine, const float* sine, float direction,
                 bool interleaved, float* output, std::int64_t half);

  // exps[i] = exp(exps[i] - max); returns max and the sum of the results.
  void (*softmax_terms)(float* exps, std::int64_t count, float* max, double* sum);
  void (*exponential)(const float* input, float* output, std::int64_t count);

  double (*sum_of_squares)(const float* input, std::int64_t count);
  void (*adamw)(const AdamwConstants&, const float* gradient, float* weight, float* first_moment,
                float* second_moment, std::int64_t count);
};

// The loops compiled for `isa`, which must be available.
const RowLoops& row_loops(Isa isa);

}  // namespace seq1f1b::kernels::cpu
