#include "core/runtime/action_ring.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>

#include "kernels/common/errors.h"

namespace seq1f1b::runtime {
namespace {

constexpr std::array<char, 8> kMagic = {'a', 'c', 't', 'i', 'o', 'n', 's', '2'};

using AtomicEnding = std::atomic<Ending>;
static_assert(AtomicEnding::is_always_lock_free && sizeof(AtomicEnding) == sizeof(Ending));

void end_once(AtomicEnding& ending, Ending how) noexcept {
  Ending none = Ending::kNone;
  ending.compare_exchange_strong(none, how);
}

// What a signal writes, and where: a handler gets no argument of ours.
std::atomic<AtomicEnding*> noted_ending{nullptr};
std::array<char, 512> farewell_text{};
std::atomic<std::size_t> farewell_bytes{0};

// Nothing here can block: a pipe or terminal that poll() calls writable takes that little at once.
// SA_RESETHAND has put the default action back, which ends the process when the handler returns and
// the signal raised here is delivered.
void note(int signal) {
  if (AtomicEnding* const ending = noted_ending.load()) {
    end_once(*ending, Ending::kSignal);
    pollfd error{.fd = STDERR_FILENO, .events = POLLOUT, .revents = 0};
    if (farewell_bytes > 0 && ::poll(&error, 1, 0) == 1 && (error.revents & POLLOUT) != 0)
      (void)!::write(STDERR_FILENO, farewell_text.data(), farewell_bytes);
  }
  ::raise(signal);
}

}  // namespace

struct ActionRing::File {
  std::array<char, 8> magic;
  Start start;
  std::int32_t rank;
  AtomicEnding ending;
  std::array<Entry, kEntries> entries;
};

// docs/run_directory.md describes it.
static_assert(sizeof(ActionRing::Start) == 16 && sizeof(ActionRing::Entry) == 40);

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

ActionRing::ActionRing(const std::string& path, const Start& start, int rank) {
  const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (file < 0 || ::ftruncate(file, sizeof(File)) != 0) {
    const std::string reason = std::strerror(errno);
    if (file >= 0) ::close(file);
    throw Error(kExitUnexpected,
                concat(path, ": cannot create the ring of last actions: ", reason));
  }
  void* data = ::mmap(nullptr, sizeof(File), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  ::close(file);
  if (data == MAP_FAILED)
    throw Error(kExitUnexpected, concat(path, ": cannot map: ", std::strerror(errno)));
  file_ = static_cast<File*>(data);  // zeros: no entry, no ending
  file_->start = start;
  file_->rank = rank;
  file_->magic = kMagic;
}

ActionRing::~ActionRing() {
  AtomicEnding* own = &file_->ending;
  noted_ending.compare_exchange_strong(own, nullptr);
  ::munmap(file_, sizeof(File));
}

void ActionRing::record(std::int64_t step, const schedule::Action& action, Phase phase) noexcept {
  Entry& entry = file_->entries[static_cast<std::size_t>(sequence_) % kEntries];
  entry.step = step;
  entry.unix_seconds =
      std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  entry.action = action;
  entry.phase = phase;
  entry.sequence = ++sequence_;
}

void ActionRing::end(Ending ending) noexcept { end_once(file_->ending, ending); }

void ActionRing::note_signals(const std::string& farewell) {
  farewell_bytes = 0;
  farewell_bytes = farewell.copy(farewell_text.data(), farewell_text.size());
  noted_ending = &file_->ending;
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) {
    struct sigaction now {};
    if (::sigaction(signal, nullptr, &now) != 0 || now.sa_handler != SIG_DFL) continue;
    struct sigaction noting {};
    noting.sa_handler = note;
    noting.sa_flags = static_cast<int>(SA_RESETHAND);
    ::sigaction(signal, &noting, nullptr);
  }
}

RingContents read_action_ring(const std::string& path) {
  std::vector<char> bytes(sizeof(ActionRing::File) + 1);
  std::ifstream in(path, std::ios::binary);
  if (!in) throw DataError(concat("cannot open ", path, ": ", std::strerror(errno)));
  in.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  const auto* file = reinterpret_cast<const ActionRing::File*>(bytes.data());
  if (static_cast<std::size_t>(in.gcount()) != sizeof(ActionRing::File) || file->magic != kMagic)
    throw DataError(concat(path, ": not a ring of last actions, or another version's"));
  RingContents contents{.start = file->start,
                        .rank = file->rank,
                        .ending = file->ending.load(),
                        .entries = {file->entries.begin(), file->entries.end()}};
  std::erase_if(contents.entries, [](const auto& entry) { return entry.sequence == 0; });
  std::ranges::sort(contents.entries, {}, &ActionRing::Entry::sequence);
  return contents;
}

}  // namespace seq1f1b::runtime
