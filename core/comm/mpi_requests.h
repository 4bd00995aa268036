#pragma once
// Transfers as MPI requests, used by the progress thread only. Includes mpi.h: for the sources of
// this folder that talk to MPI.
#include <mpi.h>

#include <array>
#include <string>
#include <vector>

#include "core/comm/transport.h"

namespace seq1f1b::comm {

// Throws what MPI has to say about `result` when it is not MPI_SUCCESS.
void check_mpi(int result, const std::string& call);

// All requests in flight, in arrays as MPI_Testsome wants them.
class MpiRequests {
 public:
  // Collective over the job: a communicator per lane. `name` is the rank's, for messages.
  explicit MpiRequests(std::string name);

  bool empty() const { return requests_.empty(); }
  void start(Transfer& transfer);
  // A receive that nothing has matched yet ends soon after; everything else takes its course.
  void cancel(const Transfer& transfer);
  // Lets MPI move data; appends the transfers that are done. Says whether anything was completed.
  bool poll(std::vector<Transfer*>& done);

 private:
  struct Piece {
    Transfer* transfer;  // null when completed
    std::size_t bytes;
  };

  void start_piece(Transfer& transfer, std::span<std::byte> bytes);
  void check_piece(const Piece& piece, MPI_Status& status, bool has_error) const;
  void forget_completed();

  const std::string name_;
  std::array<MPI_Comm, kLanes> lanes_{};  // freed by MPI_Finalize
  std::vector<MPI_Request> requests_;
  std::vector<Piece> pieces_;  // of the same index
  std::vector<int> indices_;
  std::vector<MPI_Status> statuses_;
};

}  // namespace seq1f1b::comm
