#pragma once
// What a launcher needs beside its tensors.
#include <cstddef>

#include "kernels/common/errors.h"
#include "kernels/cuda/device_code/language.h"

namespace seq1f1b::kernels::cuda {

// Scratch of one operation: taken piece by piece, all given back when the next operation begins.
// The emulator puts pieces elsewhere when it runs under the address sanitizer (scratch_piece).
class Scratch {
 public:
  Scratch() = default;
  Scratch(std::byte* memory, std::size_t bytes) : memory_(memory), capacity_(bytes) {}
  template <class T>
  T* take(std::size_t count) {
    const std::size_t bytes = (count * sizeof(T) + 255) / 256 * 256;
    SEQ1F1B_ASSERT(used_ + bytes <= capacity_, "scratch of ", capacity_, " bytes; wanted ",
                   used_ + bytes);
    std::byte* const piece = scratch_piece(memory_ + used_, count * sizeof(T));
    used_ += bytes;
    return reinterpret_cast<T*>(piece);
  }
  std::size_t left() const { return capacity_ - used_; }
  void reset() { used_ = 0; }

 private:
  std::byte* memory_ = nullptr;
  std::size_t capacity_ = 0, used_ = 0;
};

struct Context {
  cudaStream_t stream = nullptr;
  int multiprocessors = 1;
  int architecture = 80;         // compute capability times ten: 80, 90
  int shared_bytes = 163 << 10;  // that a block may have: less than on 8.0 on 8.6, 8.9 and 12.x
  bool deterministic = true;
  Scratch scratch;
};

}  // namespace seq1f1b::kernels::cuda
