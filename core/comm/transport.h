#pragma once
// Point-to-point messages of one rank: the floor under channels and groups. Those are written once,
// over this interface, so that a test with threads and a job under mpirun run the same code.
//
// Threads: the rank's, and those of its tensor groups, which wait in the background alone.
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <span>
#include <string>

#include "core/comm/channel.h"
#include "core/comm/world.h"

namespace seq1f1b::comm {

// Messages match by (lane, pair of ranks, tag), in the order of posting. Two lanes, so that the
// tags of channels and of groups cannot meet.
enum class Lane : std::uint8_t { kChannel, kGroup };
inline constexpr int kLanes = 2;

// One message on its way. It and its bytes stay in place until it is done or withdrawn.
struct Transfer {
  enum class Direction : std::uint8_t { kSend, kReceive };
  enum class State : std::uint8_t { kIdle, kActive, kDone };

  Direction direction = Direction::kSend;
  Lane lane = Lane::kChannel;
  int peer = 0;
  int tag = 0;
  std::span<std::byte> bytes{};  // only read when sending
  // Owned by the transport, under its lock.
  State state = State::kIdle;
  std::size_t pending_pieces = 0;
};

class Transport {
 public:
  explicit Transport(const WorldOptions& options);
  virtual ~Transport() = default;
  Transport(const Transport&) = delete;
  Transport& operator=(const Transport&) = delete;

  virtual int rank() const = 0;
  virtual int size() const = 0;
  virtual int max_tag() const = 0;

  // Starts the transfers and returns at once. A channel's send is done when the receiver has a
  // buffer for it, so that no library buffers more than the rings that the schedule planned.
  virtual void post(std::span<Transfer> transfers) = 0;
  // Takes back whatever is not done, so that the transfers and their bytes may go away.
  virtual void withdraw(std::span<Transfer> transfers) noexcept = 0;

  // Sleeps until none of the transfers is active; idle ones count as finished. Throws DeadlineError
  // when that takes longer than the deadline or when the job is being aborted, and whatever the
  // transport itself failed with.
  void wait(std::span<const Transfer> transfers, const Describe& what);
  // The same until `over`, naming `whom`. Both are called under the lock.
  void wait_for(const std::function<bool()>& over, const Describe& whom, const Describe& what);
  // For a thread that works while the caller computes: the same without a deadline, since nobody
  // waits yet.
  void wait_in_background(const std::function<bool()>& over);
  // Changes, under the lock, what such waits look at.
  void change(const std::function<void()>& something);
  // Of transfers, under the lock: whether none is active, and the peers of those that are ("rank
  // 1", "ranks 0, 3").
  static bool settled(std::span<const Transfer> transfers);
  static std::string missing_peers(std::span<const Transfer> transfers);

  // World::wait_until.
  void wait_until(const std::function<bool()>& done, const Describe& whom, const Describe& what);
  // True as long as nothing has failed; after a failure no wait can succeed any more.
  bool healthy() const;
  // Group::watch.
  std::unique_ptr<Watch> watch(const std::string& what) { return watchdog_.watch(what); }
  // Makes every wait, present and future, throw DeadlineError for `reason`.
  void interrupt(const std::string& reason);
  // "rank 2 (host): WHY while WHAT": calls on_deadline with the message and throws it as a
  // DeadlineError; waits fail from now on.
  [[noreturn]] void break_off(const std::string& why, const std::string& what);

  // "rank 2 (host)"
  std::string name() const;
  static std::string host_name();

 protected:
  // "waited 600 s for PEERS"
  std::string waited_for(const std::string& peers) const;
  void complete(Transfer& transfer);
  void fail(std::exception_ptr failure);
  // Sleeps until `over` (called under the lock) or the deadline; says whether `over` came true.
  bool sleep_until(std::unique_lock<std::mutex>& lock, const std::function<bool()>& done);
  // The rank hangs outside of all waits, which fail from now on. Called on the watchdog's thread.
  virtual void on_hang(const std::string& message);
  // First in the destructors of derived classes: what the watchdog's thread calls is theirs.
  void stop_watching() { watchdog_.stop(); }
  // Called under the lock when a wait begins and ends: somebody sleeps until a message comes.
  virtual void set_waiting(bool) {}

  const WorldOptions options_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::exception_ptr failure_;
  std::string interruption_;

 private:
  Watchdog watchdog_;
};

}  // namespace seq1f1b::comm
