#pragma once
// Pinned host memory through which uploads go, so that their source may be reused at once and
// nothing waits for the queue, and downloads, which pageable memory would slow down: the copy of
// one piece off the ring runs beside the transfer of the next. Used as a ring buffer: a piece is
// free again once its copy is done, which in the steady state it is long before its turn comes.
#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

namespace seq1f1b::kernels::cuda {

class StagingRing {
 public:
  // Allocates `capacity` bytes of pinned memory; copies are cut into pieces of at most a quarter.
  explicit StagingRing(std::size_t capacity);
  ~StagingRing();
  StagingRing(const StagingRing&) = delete;
  StagingRing& operator=(const StagingRing&) = delete;

  // Issues the copy of host memory to the device on `stream`. Waits only where more than the ring
  // holds is under way.
  void upload(void* device, const void* host, std::size_t bytes, cudaStream_t stream);
  // Issues the copy of device memory to the host on `stream` and returns when it is done.
  void download(void* host, const void* device, std::size_t bytes, cudaStream_t stream);
  // How often a copy had to wait for an earlier one.
  std::size_t waits() const { return waits_; }

 private:
  struct Piece {
    std::size_t begin = 0, end = 0;
    cudaEvent_t copied = nullptr;
  };
  std::size_t place(std::size_t bytes);
  // The piece that begins at `begin` is under way on `stream`; its number.
  std::uint64_t started(std::size_t begin, std::size_t bytes, cudaStream_t stream);
  void retire_oldest();
  cudaEvent_t take_event();

  std::byte* memory_ = nullptr;
  std::size_t capacity_, next_ = 0, waits_ = 0;
  std::deque<Piece> pieces_;                 // under way, the oldest first
  std::uint64_t started_ = 0, retired_ = 0;  // pieces, so far
  std::vector<cudaEvent_t> free_events_;
};

}  // namespace seq1f1b::kernels::cuda
