#pragma once
// All ranks of a job as seen by one of them: makes the control plane's groups, and the channels and
// groups in host memory that fabrics (fabric.h) stand on; and ends the job.
#include <chrono>
#include <functional>
#include <memory>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "core/comm/channel.h"
#include "core/comm/group.h"
#include "core/comm/tensor_group.h"

namespace seq1f1b::comm {

struct WorldOptions {
  std::chrono::duration<double> deadline{600};
  std::chrono::duration<double> grace{2};
  // Called with the whole message before the job is aborted for an expired deadline, so that it
  // also reaches the log file; on another thread where the rank itself hangs (Group::watch).
  std::function<void(const std::string&)> on_deadline;
};

// A world outlives its channels and groups.
class World {
 public:
  // A world of several processes that is destroyed without finalize() aborts the job, whose other
  // ranks would wait for this one.
  virtual ~World() = default;
  virtual std::string description() const = 0;  // what carries its messages: "MPI"
  virtual int rank() const = 0;
  virtual int size() const = 0;
  virtual int local_rank() const = 0;  // among the ranks of this node
  virtual int local_size() const = 0;

  // Both ends of a channel make it with the same `id` (unique per direction and pair of ranks, the
  // producing stage and direction combined), in any order. `buffers` are the ring, in host memory
  // planned by the caller; they outlive the channel.
  virtual std::unique_ptr<Sender> make_sender(int to, int id,
                                              std::vector<std::span<std::byte>> buffers) = 0;
  virtual std::unique_ptr<Receiver> make_receiver(int from, int id,
                                                  std::vector<std::span<std::byte>> buffers) = 0;
  // Collective over the world, same member lists in the same order on all ranks; null on ranks that
  // are not members.
  virtual std::unique_ptr<Group> make_group(std::span<const int> members) = 0;
  // The same, over tensors in host memory; `in_flight_bytes` as Fabric::make_group.
  virtual std::unique_ptr<TensorGroup> make_tensor_group(std::span<const int> members,
                                                         std::size_t in_flight_bytes) = 0;

  // Waits, with the world's own deadline and words, for something it knows nothing of: calls `done`
  // with growing pauses until it says true. `whom` is asked when the deadline has expired.
  virtual void wait_until(const std::function<bool()>& done, const Describe& whom,
                          const Describe& what) = 0;
  // Group::watch.
  virtual std::unique_ptr<Watch> watch(const std::string& what) = 0;
  // Throws DeadlineError, "rank 2 (host): WHY while WHAT", as an expired deadline does.
  [[noreturn]] virtual void break_off(const std::string& why, const Describe& what) = 0;

  // A wait longer than the deadline throws DeadlineError whose message names this rank, what it was
  // doing and the peer; after it every other wait fails too. Time in which the process is suspended
  // does not count. abort() ends the whole job with `exit_code`; it does not return. For an expired
  // deadline it first waits the grace period, in which the peers can write what they waited for.
  [[noreturn]] virtual void abort(int exit_code) = 0;
  // Leaves the job in good order: collective; waits for all at most the deadline.
  virtual void finalize() = 0;
  // Bytes held by the library for communication, as far as known.
  virtual std::size_t library_bytes() const = 0;
};

// All ranks of the job, in order: the members of its largest group.
inline std::vector<int> everyone(const World& world) {
  std::vector<int> ranks(static_cast<std::size_t>(world.size()));
  std::iota(ranks.begin(), ranks.end(), 0);
  return ranks;
}

// The job started by mpirun or srun (or a single process). One progress thread per rank makes every
// MPI call, sleeps while nothing is outstanding and polls with growing pauses else. Throws
// ConfigError when a launcher started several tasks and MPI sees one rank in each. If MPI does not
// start or finalize within the deadline, the process says so and ends with kExitDeadline.
std::unique_ptr<World> connect_mpi(const WorldOptions& options);

// `size` worlds in one process, one per thread; for tests. abort() of one throws Error with the
// exit code, and makes the waits of all others throw DeadlineError.
std::vector<std::unique_ptr<World>> make_in_process_worlds(int size,
                                                           const WorldOptions& options = {});

}  // namespace seq1f1b::comm
