#pragma once
// Shared by the parts of the probe: device memory, and small integers that bf16 holds exactly.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/common/bf16.h"
#include "kernels/cuda/device_code/language.h"

namespace seq1f1b::kernels::cuda::probe {

template <class T>
class Memory {
 public:
  explicit Memory(std::size_t count) : count_(count) {
    check(cudaMalloc(reinterpret_cast<void**>(&data_), count * sizeof(T)), "allocating");
  }
  ~Memory() { cudaFree(data_); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  T* data() const { return data_; }
  void write(const std::vector<T>& host) {
    check(cudaMemcpy(data_, host.data(), count_ * sizeof(T), cudaMemcpyHostToDevice), "writing");
  }
  std::vector<T> read() const {
    std::vector<T> host(count_);
    check(cudaMemcpy(host.data(), data_, count_ * sizeof(T), cudaMemcpyDeviceToHost), "reading");
    return host;
  }

 private:
  T* data_ = nullptr;
  std::size_t count_;
};

// Pairs of bf16 numbers from -7 to 8: all products and sums of the probe are exact.
inline std::vector<std::uint32_t> small_pairs(std::size_t count) {
  std::uint32_t state = 12345;
  const auto small = [&] {
    state = state * 1664525u + 1013904223u;
    const int value = static_cast<int>(state >> 28) - 7;
    return static_cast<std::uint32_t>(Bf16(static_cast<float>(value)).bits);
  };
  std::vector<std::uint32_t> pairs(count);
  for (std::uint32_t& pair : pairs) {
    const std::uint32_t low = small();
    pair = low | small() << 16;
  }
  return pairs;
}

// probe_sm90.cu: TMA's swizzle and wgmma's fragments. Compute capability 9.0.
void print_sm90();

}  // namespace seq1f1b::kernels::cuda::probe
