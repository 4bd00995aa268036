#pragma once
// The one place that knows oneDNN: a matrix product of fixed shape, for its versions 2.x and 3.x.
// Only onednn.cpp includes the library's header.
#include <cstddef>
#include <cstdint>
#include <memory>

namespace seq1f1b::kernels::cpu {

// c[m, n] = sum_k a[m, k] * b[k, n] (+ bias[n]) (+ the old c[m, n]), fp32.
// Strides count elements; of each operand's two strides one is 1. c is row-major.
struct MatmulShape {
  std::int64_t rows = 0, columns = 0, depth = 0;  // m, n, k
  std::int64_t a_row_stride = 0, a_depth_stride = 0;
  std::int64_t b_depth_stride = 0, b_column_stride = 0;
  std::int64_t c_row_stride = 0;
  bool bias = false;
  bool add_to_c = false;
};

// One compiled product, blocked by the library for one thread, so that its bits do not depend on
// how many threads the caller has. `run` may be called by several threads at once, each with its
// own number below `threads` and its own scratch.
class Matmul {
 public:
  // Throws Error(kExitUnexpected) when the library refuses.
  Matmul(const MatmulShape& shape, int threads);
  Matmul(Matmul&&) noexcept;
  ~Matmul();

  std::size_t scratch_bytes() const;  // 64-byte aligned memory that one thread's run needs
  // False when the library reports an error. `bias` is read only if the shape has one. The calling
  // thread holds a SingleThread.
  bool run(int thread, const float* a, const float* b, const float* bias, float* c,
           void* scratch) const noexcept;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// While it lives, the calling thread's OpenMP regions, the library's among them, have one thread.
class SingleThread {
 public:
  SingleThread();
  ~SingleThread();
  SingleThread(const SingleThread&) = delete;
  SingleThread& operator=(const SingleThread&) = delete;

 private:
  int before_;
};

}  // namespace seq1f1b::kernels::cpu
