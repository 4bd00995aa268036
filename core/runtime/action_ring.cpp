#include "core/runtime/action_ring.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>

#include "kernels/common/errors.h"

namespace seq1f1b::runtime {
namespace {

constexpr std::size_t kBytes = ActionRing::kEntries * sizeof(ActionRing::Entry);

}  // namespace

const char* phase_name(Phase phase) {
  switch (phase) {
    case Phase::kWaitsToReceive:
      return "waits to receive";
    case Phase::kWaitsToSend:
      return "waits to send";
    case Phase::kRuns:
      return "runs";
    case Phase::kDone:
      return "done";
  }
  return "?";
}

ActionRing::ActionRing(const std::string& path) {
  const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (file < 0 || ::ftruncate(file, kBytes) != 0) {
    const std::string reason = std::strerror(errno);
    if (file >= 0) ::close(file);
    throw Error(kExitUnexpected,
                concat(path, ": cannot create the ring of last actions: ", reason));
  }
  void* data = ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  ::close(file);
  if (data == MAP_FAILED)
    throw Error(kExitUnexpected, concat(path, ": cannot map: ", std::strerror(errno)));
  entries_ = static_cast<Entry*>(data);
}

ActionRing::~ActionRing() { ::munmap(entries_, kBytes); }

void ActionRing::record(std::int64_t step, const schedule::Action& action, Phase phase) noexcept {
  Entry& entry = entries_[static_cast<std::size_t>(sequence_) % kEntries];
  entry.step = step;
  entry.unix_seconds =
      std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  entry.action = action;
  entry.phase = phase;
  entry.sequence = ++sequence_;
}

std::vector<ActionRing::Entry> read_action_ring(const std::string& path) {
  std::vector<ActionRing::Entry> entries(ActionRing::kEntries);
  std::ifstream in(path, std::ios::binary);
  in.read(reinterpret_cast<char*>(entries.data()), static_cast<std::streamsize>(kBytes));
  if (static_cast<std::size_t>(in.gcount()) != kBytes)
    throw DataError(concat(path, ": not a ring of last actions"));
  std::erase_if(entries, [](const auto& entry) { return entry.sequence == 0; });
  std::sort(entries.begin(), entries.end(),
            [](const auto& a, const auto& b) { return a.sequence < b.sequence; });
  return entries;
}

}  // namespace seq1f1b::runtime
