#include "core/comm/transport.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <set>

#include "core/comm/rank_names.h"
#include "kernels/common/errors.h"

namespace seq1f1b::comm {
namespace {

using Seconds = std::chrono::duration<double>;

}  // namespace

std::string Transport::host_name() {
  std::array<char, 256> buffer{};
  if (gethostname(buffer.data(), buffer.size() - 1) != 0) return "unknown host";
  return buffer.data();
}

Transport::Transport(const WorldOptions& options)
    : options_(options), watchdog_(options.deadline, [this](const std::string& what) {
        const std::string message =
            concat(name(), ": made no progress for ", options_.deadline.count(), " s while ", what);
        fail(std::make_exception_ptr(DeadlineError(message)));
        on_hang(message);
      }) {}

void Transport::on_hang(const std::string& message) {
  if (options_.on_deadline) options_.on_deadline(message);
}

bool Transport::settled(std::span<const Transfer> transfers) {
  return std::ranges::none_of(transfers, [](const Transfer& transfer) {
    return transfer.state == Transfer::State::kActive;
  });
}

std::string Transport::missing_peers(std::span<const Transfer> transfers) {
  std::set<int> peers;
  for (const Transfer& transfer : transfers) {
    if (transfer.state == Transfer::State::kActive) peers.insert(transfer.peer);
  }
  return rank_names(peers);
}

bool Transport::sleep_until(std::unique_lock<std::mutex>& lock, const std::function<bool()>& done) {
  // Slept in slices, each counted as at most its own length: a job that was suspended and continued
  // has not waited for its peers meanwhile.
  const Seconds slice = std::min(Seconds(1), options_.deadline / 4);
  Seconds waited{0};
  while (!done()) {
    if (waited >= options_.deadline) return false;
    changed_.wait_for(lock, slice, done);
    waited += slice;
  }
  return true;
}

void Transport::wait(std::span<const Transfer> transfers, const Describe& what) {
  wait_for([&] { return settled(transfers); }, [&] { return missing_peers(transfers); }, what);
}

void Transport::wait_for(const std::function<bool()>& over, const Describe& whom,
                         const Describe& what) {
  std::unique_lock lock(mutex_);
  if (over()) return;
  set_waiting(true);
  const bool woken =
      sleep_until(lock, [&] { return over() || failure_ || !interruption_.empty(); });
  set_waiting(false);
  if (woken && over()) return;
  if (failure_) std::rethrow_exception(failure_);
  const std::string reason = interruption_;
  const std::string peers = reason.empty() ? whom() : "";
  lock.unlock();
  if (!reason.empty()) throw DeadlineError(concat(name(), ": ", reason, " while ", what()));
  break_off(waited_for(peers), what());
}

void Transport::wait_in_background(const std::function<bool()>& over) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return over() || failure_ || !interruption_.empty(); });
  if (over()) return;
  if (failure_) std::rethrow_exception(failure_);
  throw DeadlineError(concat(name(), ": ", interruption_));
}

void Transport::change(const std::function<void()>& something) {
  const std::lock_guard lock(mutex_);
  something();
  changed_.notify_all();
}

void Transport::wait_until(const std::function<bool()>& done, const Describe& whom,
                           const Describe& what) {
  using Clock = std::chrono::steady_clock;
  constexpr std::chrono::duration<double, std::micro> kShortestPause{20}, kLongestPause{1000};
  Seconds waited{0};
  Clock::time_point before = Clock::now();
  while (!done()) {
    std::unique_lock lock(mutex_);
    // Short pauses at first, for what ends soon; a few per cent of the wait later on.
    const Seconds pause = std::clamp<Seconds>(waited / 16, kShortestPause, kLongestPause);
    changed_.wait_for(lock, pause, [&] { return failure_ || !interruption_.empty(); });
    if (failure_) std::rethrow_exception(failure_);
    if (!interruption_.empty())
      throw DeadlineError(concat(name(), ": ", interruption_, " while ", what()));
    lock.unlock();
    // As in sleep_until, time in which the process was suspended does not count.
    const Clock::time_point now = Clock::now();
    waited += std::min<Seconds>(now - before, Seconds(1));
    before = now;
    if (waited >= options_.deadline) break_off(waited_for(whom()), what());
  }
}

bool Transport::healthy() const {
  const std::lock_guard lock(mutex_);
  return !failure_ && interruption_.empty();
}

void Transport::interrupt(const std::string& reason) {
  const std::lock_guard lock(mutex_);
  interruption_ = reason;
  changed_.notify_all();
}

std::string Transport::waited_for(const std::string& peers) const {
  return concat("waited ", options_.deadline.count(), " s for ", peers);
}

void Transport::break_off(const std::string& why, const std::string& what) {
  const std::string message = concat(name(), ": ", why, " while ", what);
  const auto error = std::make_exception_ptr(DeadlineError(message));
  fail(error);
  if (options_.on_deadline) options_.on_deadline(message);
  std::rethrow_exception(error);
}

std::string Transport::name() const { return concat("rank ", rank(), " (", host_name(), ")"); }

void Transport::complete(Transfer& transfer) {
  const std::lock_guard lock(mutex_);
  transfer.state = Transfer::State::kDone;
  changed_.notify_all();
}

void Transport::fail(std::exception_ptr failure) {
  const std::lock_guard lock(mutex_);
  if (!failure_) failure_ = std::move(failure);
  changed_.notify_all();
}

}  // namespace seq1f1b::comm
