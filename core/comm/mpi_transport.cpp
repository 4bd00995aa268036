#include "core/comm/mpi_transport.h"

#include <mpi.h>
#include <sched.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>

#include "core/comm/launcher.h"
#include "core/comm/mpi_requests.h"
#include "kernels/common/errors.h"

namespace seq1f1b::comm {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::microseconds;

// How long a message that has begun may take to be withdrawn.
constexpr std::chrono::seconds kWithdrawTime{1};
// After MPI_Abort was ordered, how long it may take to end this process.
constexpr std::chrono::seconds kAbortTime{5};

// Polling. A pause is a sixteenth of the time since something was last completed, so that it
// lengthens a wait by a few percent, within these bounds. The upper ones decide what an idle rank
// costs the others on the same cores: measured 3 % of a core while it waits, 1.5 % while it
// computes with a receive posted (tests/core/comm/mpi_latency.cpp).
constexpr int kYields = 3;
constexpr microseconds kShortestPause{10};
constexpr microseconds kLongestPauseWaiting{200};
constexpr microseconds kLongestPauseComputing{1000};
constexpr unsigned long kTimerSlackNanoseconds = 1000;  // Linux adds 50 us to a sleep else

std::size_t resident_bytes() {
  std::size_t total_pages = 0;
  std::size_t resident_pages = 0;
  std::ifstream("/proc/self/statm") >> total_pages >> resident_pages;
  return resident_pages * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

// One write: ranks share standard error.
void print_error(const std::string& message) {
  std::cerr << concat("seq1f1b: error: ", message, "\n") << std::flush;
}

// Which ranks are missing is not known before MPI has started.
std::string hung_at_start(const std::string& host, double deadline) {
  const Launch launch = read_launch(std::getenv);
  const bool several = launch.launched && launch.world_size > 1;
  return concat(several ? concat("rank ", launch.rank) : concat("process ", getpid()), " (", host,
                "): waited ", deadline, " s for ",
                several ? concat("all ", launch.world_size,
                                 " ranks to start; MPI does not tell which are missing")
                        : "MPI to start",
                ". Check that every rank runs (ps on each host) "
                "and that the hosts reach each other, try the launcher with `hostname` in place of "
                "this program, or raise runtime.deadline_seconds if starting takes longer");
}

}  // namespace

MpiTransport::MpiTransport(const WorldOptions& options) : Transport(options) {
  if (!started_by_launcher(std::getenv)) {
    // A single process needs no daemon beside it, nor ssh to start one with.
    setenv("OMPI_MCA_ess_singleton_isolated", "1", 0);
  }
  thread_ = std::thread([this] { progress(); });
  std::unique_lock lock(mutex_);
  if (!sleep_until(lock, [&] { return phase_ != Phase::kStarting; })) {
    lock.unlock();
    give_up(hung_at_start(host_name(), options.deadline.count()));
  }
  if (phase_ == Phase::kServing) return;
  const std::exception_ptr failure = failure_;
  lock.unlock();
  thread_.join();
  std::rethrow_exception(failure);
}

MpiTransport::~MpiTransport() {
  stop_watching();
  if (!thread_.joinable()) return;
  if (size() > 1 || !healthy()) {
    print_error(name() + ": left the job without finalize()");
    abort(kExitUnexpected);
  }
  finish();
}

void MpiTransport::enter(Phase phase) {
  const std::lock_guard lock(mutex_);
  phase_ = phase;
  changed_.notify_all();
}

// All that the progress thread does, from MPI_Init to MPI_Finalize.
void MpiTransport::progress() {
  std::unique_ptr<MpiRequests> requests;
  try {
    prctl(PR_SET_TIMERSLACK, kTimerSlackNanoseconds);
    place_ = start();
    requests = std::make_unique<MpiRequests>(name());
  } catch (...) {
    fail(std::current_exception());
    enter(Phase::kFinished);
    return;
  }
  enter(Phase::kServing);
  try {
    serve(*requests);
  } catch (...) {
    fail(std::current_exception());
  }
  enter(Phase::kStopped);
  std::unique_lock lock(mutex_);
  wake_.wait(lock, [&] { return order_ != Order::kServe; });
  const Order order = order_;
  lock.unlock();
  if (order == Order::kAbort) MPI_Abort(MPI_COMM_WORLD, exit_code_);
  MPI_Finalize();
  enter(Phase::kFinished);
}

MpiTransport::Place MpiTransport::start() {
  // Asked before MPI_Init, which may set such variables itself.
  const std::string mismatch = launcher_mismatch(1, std::getenv);
  const std::size_t resident_before = resident_bytes();
  int provided = 0;
  check_mpi(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided), "MPI_Init_thread");
  Place place;
  check_mpi(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  check_mpi(MPI_Comm_rank(MPI_COMM_WORLD, &place.rank), "MPI_Comm_rank");
  check_mpi(MPI_Comm_size(MPI_COMM_WORLD, &place.size), "MPI_Comm_size");
  if (place.size == 1 && !mismatch.empty()) {
    MPI_Finalize();
    throw ConfigError(mismatch);
  }
  if (provided < MPI_THREAD_FUNNELED) {
    throw ConfigError("this MPI does not support threads (MPI_THREAD_FUNNELED)");
  }
  MPI_Comm node = MPI_COMM_NULL;
  check_mpi(MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node),
            "MPI_Comm_split_type");
  check_mpi(MPI_Comm_rank(node, &place.local_rank), "MPI_Comm_rank");
  check_mpi(MPI_Comm_size(node, &place.local_size), "MPI_Comm_size");
  check_mpi(MPI_Comm_free(&node), "MPI_Comm_free");
  int* max_tag = nullptr;
  int found = 0;
  check_mpi(MPI_Comm_get_attr(MPI_COMM_WORLD, MPI_TAG_UB, &max_tag, &found), "MPI_Comm_get_attr");
  place.max_tag = found != 0 ? *max_tag : 32767;  // the least that MPI guarantees
  const std::size_t resident = resident_bytes();
  place.start_up_bytes = resident - std::min(resident, resident_before);
  return place;
}

void MpiTransport::serve(MpiRequests& requests) {
  std::vector<Transfer*> posted;
  std::vector<Transfer*> unwanted;
  std::vector<Transfer*> done;
  Clock::time_point last_event = Clock::now();
  int yields = 0;
  std::unique_lock lock(mutex_);
  const auto called = [&] {
    return order_ != Order::kServe || halted_ || nudged_ || !posted_.empty() || !unwanted_.empty();
  };
  for (;;) {
    if (requests.empty()) wake_.wait(lock, called);
    if (halted_ || order_ == Order::kAbort) return;
    if (order_ == Order::kFinalize) {
      SEQ1F1B_ASSERT(requests.empty(), "finalize() with channels open");
      return;
    }
    bool event = called();
    nudged_ = false;
    posted.swap(posted_);
    unwanted.swap(unwanted_);
    lock.unlock();
    for (Transfer* transfer : posted) requests.start(*transfer);
    for (const Transfer* transfer : unwanted) requests.cancel(*transfer);
    posted.clear();
    unwanted.clear();
    if (requests.poll(done)) event = true;
    lock.lock();
    for (Transfer* transfer : done) transfer->state = Transfer::State::kDone;
    if (!done.empty()) changed_.notify_all();
    done.clear();
    const Clock::time_point now = Clock::now();
    if (event) {
      last_event = now;
      yields = 0;
    } else if (yields < kYields) {
      ++yields;
      lock.unlock();
      sched_yield();
      lock.lock();
    } else {
      const auto quiet = std::chrono::duration_cast<microseconds>(now - last_event);
      const microseconds longest = waited_for_ ? kLongestPauseWaiting : kLongestPauseComputing;
      wake_.wait_for(lock, std::clamp(quiet / 16, kShortestPause, longest), called);
    }
  }
}

void MpiTransport::set_waiting(bool waiting) {
  waited_for_ = waiting;
  if (!waiting) return;
  nudged_ = true;
  wake_.notify_one();
}

void MpiTransport::post(std::span<Transfer> transfers) {
  if (transfers.empty()) return;
  const std::lock_guard lock(mutex_);
  if (failure_) std::rethrow_exception(failure_);
  for (Transfer& transfer : transfers) {
    transfer.state = Transfer::State::kActive;
    posted_.push_back(&transfer);
  }
  wake_.notify_one();
}

void MpiTransport::withdraw(std::span<Transfer> transfers) noexcept {
  const auto is_ours = [&](const Transfer* transfer) {
    return transfer >= transfers.data() && transfer < transfers.data() + transfers.size();
  };
  std::unique_lock lock(mutex_);
  for (Transfer* transfer : posted_) {
    if (is_ours(transfer)) transfer->state = Transfer::State::kIdle;
  }
  std::erase_if(posted_, is_ours);
  for (Transfer& transfer : transfers) {
    if (transfer.state == Transfer::State::kActive) unwanted_.push_back(&transfer);
  }
  const auto done = [&] {
    return phase_ != Phase::kServing ||
           std::none_of(transfers.begin(), transfers.end(), [](const Transfer& transfer) {
             return transfer.state == Transfer::State::kActive;
           });
  };
  wake_.notify_one();
  if (!changed_.wait_for(lock, kWithdrawTime, done)) {
    // A message is half sent or received. Nothing may touch its bytes any more, so nothing can be
    // sent at all from now on: the job has to be aborted.
    halted_ = true;
    if (!failure_) {
      failure_ = std::make_exception_ptr(
          InternalError(concat(name(), ": a channel was closed with a message under way")));
    }
    wake_.notify_one();
    changed_.wait_for(lock, kAbortTime, [&] { return phase_ != Phase::kServing; });
  }
  std::erase_if(unwanted_, is_ours);
  for (Transfer& transfer : transfers) transfer.state = Transfer::State::kIdle;
}

void MpiTransport::finish() {
  std::unique_lock lock(mutex_);
  if (failure_) std::rethrow_exception(failure_);
  order_ = Order::kFinalize;
  wake_.notify_one();
  if (!sleep_until(lock, [&] { return phase_ == Phase::kFinished || failure_; })) {
    lock.unlock();
    give_up(concat(name(), ": waited ", options_.deadline.count(), " s for all ranks to finalize"));
  }
  if (failure_) std::rethrow_exception(failure_);
  lock.unlock();
  thread_.join();
}

void MpiTransport::abort(int exit_code) {
  std::fflush(nullptr);
  end_job(exit_code);
}

// Standard error and the log may be files that do not answer, too, and the calling thread may have
// locked what fflush() would lock: nothing here waits for them longer than the grace period.
void MpiTransport::on_hang(const std::string& message) {
  std::thread([message, options = options_] {
    print_error(message);
    if (options.on_deadline) options.on_deadline(message);
  }).detach();
  end_job(kExitDeadline);
}

void MpiTransport::end_job(int exit_code) {
  if (exit_code == kExitDeadline) {
    // The peers' deadlines expire at about the same time: let them say what they waited for.
    std::this_thread::sleep_for(options_.grace);
  }
  std::unique_lock lock(mutex_);
  order_ = Order::kAbort;
  exit_code_ = exit_code;
  wake_.notify_one();
  // MPI_Abort does not return; nor does it end the process if the thread hangs in another call.
  changed_.wait_for(lock, kAbortTime, [&] { return phase_ == Phase::kFinished; });
  _exit(exit_code);
}

void MpiTransport::give_up(const std::string& message) {
  if (options_.on_deadline) options_.on_deadline(message);
  print_error(message);
  std::fflush(nullptr);
  _exit(kExitDeadline);
}

}  // namespace seq1f1b::comm
