#include "kernels/common/host_device.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <limits>

namespace seq1f1b::kernels {
namespace {

constexpr std::size_t kHugePageBytes = std::size_t{2} << 20;
constexpr std::size_t kPageBytes = 4096;  // more than the 256 bytes promised

// Allocations of at least one huge page begin on one and fill whole ones: first touch is several
// times faster, and a neighbour cannot share the last page.
bool wants_huge_pages(std::size_t bytes) { return bytes >= kHugePageBytes; }

std::size_t mapped_bytes(std::size_t bytes) {
  const std::size_t page = wants_huge_pages(bytes) ? kHugePageBytes : kPageBytes;
  return (bytes + page - 1) / page * page;
}

// Control groups of version 2 and 1 say "max" or a huge number where there is no limit.
std::size_t container_limit() {
  for (const char* path : {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
    std::ifstream in(path);
    if (std::size_t limit = 0; in >> limit) return limit;
  }
  return std::numeric_limits<std::size_t>::max();
}

}  // namespace

std::size_t HostDevice::memory_bytes() const {
  const long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
  if (pages <= 0 || page <= 0) return 0;
  return std::min(static_cast<std::size_t>(pages) * static_cast<std::size_t>(page),
                  container_limit());
}

void* HostDevice::allocate(std::size_t bytes) {
  if (bytes == 0) return nullptr;
  const std::size_t size = mapped_bytes(bytes);
  const std::size_t slack = wants_huge_pages(bytes) ? kHugePageBytes : 0;
  void* mapping = size < bytes ? MAP_FAILED  // the rounding overflowed
                               : mmap(nullptr, size + slack, PROT_READ | PROT_WRITE,
                                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping == MAP_FAILED)
    throw Error(kExitUnexpected,
                concat("host memory: ", bytes, " bytes (", bytes >> 20,
                       " MiB) are not available; use a smaller model, micro-batch or sequence, or "
                       "more pipeline ranks"));
  if (slack == 0) return mapping;
  // Give back what lies before the first huge page and after the last.
  auto* begin = static_cast<std::byte*>(mapping);
  const std::size_t misalignment = reinterpret_cast<std::uintptr_t>(begin) % kHugePageBytes;
  const std::size_t head = misalignment ? kHugePageBytes - misalignment : 0;
  if (head) munmap(begin, head);
  if (slack - head) munmap(begin + head + size, slack - head);
  // Only a hint: without huge pages the memory is slower to touch first, nothing else.
  madvise(begin + head, size, MADV_HUGEPAGE);
  return begin + head;
}

void HostDevice::release(void* pointer, std::size_t bytes) noexcept {
  if (pointer) munmap(pointer, mapped_bytes(bytes));
}

void HostDevice::upload(void* device, const void* host, std::size_t bytes) {
  if (bytes) std::memcpy(device, host, bytes);
}

void HostDevice::download(void* host, const void* device, std::size_t bytes) {
  if (bytes) std::memcpy(host, device, bytes);
}

std::unique_ptr<Event> HostDevice::make_event() {
  struct AlwaysDone final : Event {
    bool done() override { return true; }
  };
  return std::make_unique<AlwaysDone>();
}

void HostDevice::stamp(int index) {
  const auto place = static_cast<std::size_t>(index);
  SEQ1F1B_ASSERT(index >= 0 && index < kTimeStamps, "time stamp ", index);
  if (place >= stamps_.size()) stamps_.resize(place + 1);
  stamps_[place] = std::chrono::steady_clock::now();
}

double HostDevice::seconds_between(int first, int second) {
  return std::chrono::duration<double>(stamps_.at(static_cast<std::size_t>(second)) -
                                       stamps_.at(static_cast<std::size_t>(first)))
      .count();
}

}  // namespace seq1f1b::kernels
