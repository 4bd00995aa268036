#pragma once
// Messages over MPI. One progress thread per rank makes every MPI call: Open MPI moves nothing
// while nobody calls it, so this is what lets a message travel while the rank computes. The thread
// sleeps on a condition variable while nothing is outstanding and polls with growing pauses else;
// the calling thread only ever sleeps.
#include <memory>
#include <thread>
#include <vector>

#include "core/comm/transport.h"

namespace seq1f1b::comm {

class MpiRequests;

class MpiTransport final : public Transport {
 public:
  // Starts the thread and, in it, MPI. A start that takes longer than the deadline ends the
  // process.
  explicit MpiTransport(const WorldOptions& options);
  // Without finish() before, ends the whole job when it has other ranks: they would wait for this
  // one.
  ~MpiTransport() override;

  int rank() const override { return place_.rank; }
  int size() const override { return place_.size; }
  int max_tag() const override { return place_.max_tag; }
  int local_rank() const { return place_.local_rank; }
  int local_size() const { return place_.local_size; }
  // Growth of the process's resident memory while MPI started.
  std::size_t start_up_bytes() const { return place_.start_up_bytes; }

  void post(std::span<Transfer> transfers) override;
  void withdraw(std::span<Transfer> transfers) noexcept override;

  // MPI_Finalize; all ranks must be about to call it.
  void finish();
  [[noreturn]] void abort(int exit_code);

 private:
  struct Place {
    int rank = 0, size = 1, local_rank = 0, local_size = 1, max_tag = 0;
    std::size_t start_up_bytes = 0;
  };
  // What the thread is to do; the ones below kServe end its service.
  enum class Order : std::uint8_t { kServe, kFinalize, kAbort };
  enum class Phase : std::uint8_t { kStarting, kServing, kStopped, kFinished };

  void progress();
  void enter(Phase phase);
  Place start();
  void serve(MpiRequests& requests);
  void set_waiting(bool waiting) override;
  // Ends the process at once: for waits in which the progress thread hangs inside MPI.
  [[noreturn]] void give_up(const std::string& message);
  void on_hang(const std::string& message) override;
  // Ends the job after the grace period, if the code is that of a deadline.
  [[noreturn]] void end_job(int exit_code);

  // Under the lock of Transport.
  std::vector<Transfer*> posted_;    // to be started
  std::vector<Transfer*> unwanted_;  // active, to be cancelled
  Order order_ = Order::kServe;
  Phase phase_ = Phase::kStarting;
  bool halted_ = false;  // touch no message any more
  int exit_code_ = 0;
  bool waited_for_ = false;  // the calling thread sleeps until a message comes
  bool nudged_ = false;      // ... and has just begun to: poll at once
  std::condition_variable wake_;

  Place place_;  // constant once started
  std::thread thread_;
};

}  // namespace seq1f1b::comm
