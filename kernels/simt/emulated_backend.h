#pragma once
// The CUDA back end on the emulated device: its own host sources and kernels, with plain loops for
// the library of matrix products (gemm.cpp).
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <utility>

#include "kernels/device.h"

namespace seq1f1b::simt {

// What a library of attention did, for tests that look at it.
struct EmulatedAttentionLog {
  std::atomic<std::int64_t> calls{0};      // issued, forward and backward
  std::atomic<std::int64_t> last_keys{0};  // of the last of them
  std::mutex mutex;
  std::set<std::pair<std::int64_t, std::int64_t>> held;  // lengths prepared and not let go
};
struct EmulatedAttentionOptions {
  double wait_seconds = 0;  // in every call, on the device's time
  std::int64_t most_keys = std::numeric_limits<std::int64_t>::max();  // more are refused
  std::shared_ptr<EmulatedAttentionLog> log;                          // may be null
};

struct EmulatedOptions {
  kernels::Dtype compute = kernels::Dtype::kF32;
  int architecture = 80;
  bool deterministic = true;
  bool graphs = true;
  std::optional<EmulatedAttentionOptions> attention{};  // a library beside the own kernels
};
// Sets SEQ1F1B_SIMT_ARCH, so that the device's limits are those of the architecture.
kernels::Backend make_emulated_backend(const EmulatedOptions& options);

// What all ranks on the emulated device have allocated, as its runtime counts.
struct EmulatedMemory {
  std::size_t allocated = 0, peak = 0;  // device bytes; the most at once since reset_peak
  long allocations = 0;                 // of device and pinned memory, so far
};
EmulatedMemory emulated_memory();
void reset_emulated_peak();

}  // namespace seq1f1b::simt
