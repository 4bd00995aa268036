#include "kernels/cuda/staging.h"

#include <algorithm>
#include <cstring>

#include "kernels/cuda/check.h"

namespace seq1f1b::kernels::cuda {

StagingRing::StagingRing(std::size_t capacity) : capacity_(capacity) {
  SEQ1F1B_ASSERT(capacity >= 4, "a ring of ", capacity, " bytes");
  void* memory = nullptr;
  check(cudaMallocHost(&memory, capacity), "allocating pinned memory for uploads");
  memory_ = static_cast<std::byte*>(memory);
}

StagingRing::~StagingRing() {
  // Errors of an earlier failure would only hide it.
  for (const Piece& piece : pieces_) {
    cudaEventSynchronize(piece.copied);
    cudaEventDestroy(piece.copied);
  }
  for (cudaEvent_t event : free_events_) cudaEventDestroy(event);
  cudaFreeHost(memory_);
}

void StagingRing::retire_oldest() {
  Piece& oldest = pieces_.front();
  check(cudaEventSynchronize(oldest.copied), "waiting for a copy");
  free_events_.push_back(oldest.copied);
  pieces_.pop_front();
  ++retired_;
}

// Where the next `bytes` go. The oldest pieces end first, so whatever lies there is given up in
// order.
std::size_t StagingRing::place(std::size_t bytes) {
  const std::size_t begin = next_ + bytes <= capacity_ ? next_ : 0;
  const auto in_the_way = [&](const Piece& piece) {
    return piece.begin < begin + bytes && begin < piece.end;
  };
  while (!pieces_.empty() && has_passed(pieces_.front().copied)) retire_oldest();
  while (std::any_of(pieces_.begin(), pieces_.end(), in_the_way)) {
    ++waits_;
    retire_oldest();
  }
  return begin;
}

cudaEvent_t StagingRing::take_event() {
  cudaEvent_t event = nullptr;
  if (free_events_.empty()) {
    check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "creating an event");
  } else {
    event = free_events_.back();
    free_events_.pop_back();
  }
  return event;
}

std::uint64_t StagingRing::started(std::size_t begin, std::size_t bytes, cudaStream_t stream) {
  Piece piece{begin, begin + bytes, take_event()};
  pieces_.push_back(piece);
  check(cudaEventRecord(piece.copied, stream), "recording a copy");
  // The copy engines like aligned pieces.
  next_ = std::min(capacity_, (begin + bytes + 255) / 256 * 256);
  return ++started_;
}

void StagingRing::upload(void* device, const void* host, std::size_t bytes, cudaStream_t stream) {
  const std::size_t most = capacity_ / 4;
  for (std::size_t done = 0; done < bytes;) {
    const std::size_t count = std::min(bytes - done, most);
    const std::size_t begin = place(count);
    std::memcpy(memory_ + begin, static_cast<const std::byte*>(host) + done, count);
    check(cudaMemcpyAsync(static_cast<std::byte*>(device) + done, memory_ + begin, count,
                          cudaMemcpyHostToDevice, stream),
          "uploading");
    started(begin, count, stream);
    done += count;
  }
}

void StagingRing::download(void* host, const void* device, std::size_t bytes, cudaStream_t stream) {
  struct Part {
    std::uint64_t number;
    std::size_t begin, bytes, offset;
  };
  std::deque<Part> parts;
  // Two pieces of a quarter each never lie where a third is placed, wherever the ring wraps around.
  constexpr std::size_t kMostUnderWay = 2;
  const std::size_t most = capacity_ / 4;
  const auto finish_oldest = [&] {
    const Part& part = parts.front();
    while (retired_ < part.number) retire_oldest();
    std::memcpy(static_cast<std::byte*>(host) + part.offset, memory_ + part.begin, part.bytes);
    parts.pop_front();
  };
  for (std::size_t done = 0; done < bytes;) {
    const std::size_t count = std::min(bytes - done, most);
    if (parts.size() == kMostUnderWay) finish_oldest();
    const std::size_t begin = place(count);
    check(cudaMemcpyAsync(memory_ + begin, static_cast<const std::byte*>(device) + done, count,
                          cudaMemcpyDeviceToHost, stream),
          "downloading");
    parts.push_back({started(begin, count, stream), begin, count, done});
    done += count;
  }
  while (!parts.empty()) finish_oldest();
}

}  // namespace seq1f1b::kernels::cuda
