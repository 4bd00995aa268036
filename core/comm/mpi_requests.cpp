#include "core/comm/mpi_requests.h"

#include <algorithm>

#include "kernels/common/errors.h"

namespace seq1f1b::comm {
namespace {

// Larger messages travel in pieces: MPI counts in int, one long copy would hold up the others, and
// every piece that arrives tells the progress thread not to pause for long.
constexpr std::size_t kPieceBytes = std::size_t{1} << 20;

}  // namespace

void check_mpi(int result, const std::string& call) {
  if (result == MPI_SUCCESS) return;
  std::array<char, MPI_MAX_ERROR_STRING> text{};
  int length = 0;
  MPI_Error_string(result, text.data(), &length);
  throw Error(kExitUnexpected, concat(call, ": ", text.data()));
}

MpiRequests::MpiRequests(std::string name) : name_(std::move(name)) {
  for (MPI_Comm& lane : lanes_) {
    check_mpi(MPI_Comm_dup(MPI_COMM_WORLD, &lane), "MPI_Comm_dup");
    check_mpi(MPI_Comm_set_errhandler(lane, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  }
}

void MpiRequests::start(Transfer& transfer) {
  std::span<std::byte> rest = transfer.bytes;
  transfer.pending_pieces = 0;
  do {  // a message without bytes is one piece too
    const std::span<std::byte> piece = rest.first(std::min(rest.size(), kPieceBytes));
    start_piece(transfer, piece);
    rest = rest.subspan(piece.size());
  } while (!rest.empty());
}

void MpiRequests::start_piece(Transfer& transfer, std::span<std::byte> bytes) {
  const MPI_Comm lane = lanes_[static_cast<std::size_t>(transfer.lane)];
  const int count = static_cast<int>(bytes.size());
  const int peer = transfer.peer;
  const int tag = transfer.tag;
  MPI_Request request = MPI_REQUEST_NULL;
  if (transfer.direction == Transfer::Direction::kReceive) {
    check_mpi(MPI_Irecv(bytes.data(), count, MPI_BYTE, peer, tag, lane, &request), "MPI_Irecv");
  } else if (transfer.lane == Lane::kChannel) {
    // Synchronous: a channel's buffer is free again when the receiver has taken the message.
    check_mpi(MPI_Issend(bytes.data(), count, MPI_BYTE, peer, tag, lane, &request), "MPI_Issend");
  } else {
    check_mpi(MPI_Isend(bytes.data(), count, MPI_BYTE, peer, tag, lane, &request), "MPI_Isend");
  }
  requests_.push_back(request);
  pieces_.push_back({&transfer, bytes.size()});
  ++transfer.pending_pieces;
}

void MpiRequests::cancel(const Transfer& transfer) {
  if (transfer.direction != Transfer::Direction::kReceive) return;
  for (std::size_t i = 0; i < requests_.size(); ++i) {
    if (pieces_[i].transfer == &transfer) check_mpi(MPI_Cancel(&requests_[i]), "MPI_Cancel");
  }
}

bool MpiRequests::poll(std::vector<Transfer*>& done) {
  if (requests_.empty()) return false;
  indices_.resize(requests_.size());
  statuses_.resize(requests_.size());
  int completed = 0;
  const int result = MPI_Testsome(static_cast<int>(requests_.size()), requests_.data(), &completed,
                                  indices_.data(), statuses_.data());
  if (result != MPI_ERR_IN_STATUS) check_mpi(result, "MPI_Testsome");
  if (completed <= 0) return false;
  for (std::size_t i = 0; i < static_cast<std::size_t>(completed); ++i) {
    Piece& piece = pieces_[static_cast<std::size_t>(indices_[i])];
    check_piece(piece, statuses_[i], result == MPI_ERR_IN_STATUS);
    if (--piece.transfer->pending_pieces == 0) done.push_back(piece.transfer);
    piece.transfer = nullptr;
  }
  forget_completed();
  return true;
}

// Both ends know the size of every message, so another one means that they follow different plans.
void MpiRequests::check_piece(const Piece& piece, MPI_Status& status, bool has_error) const {
  const Transfer& transfer = *piece.transfer;
  int error_class = MPI_SUCCESS;
  if (has_error) MPI_Error_class(status.MPI_ERROR, &error_class);
  if (error_class != MPI_SUCCESS && error_class != MPI_ERR_TRUNCATE) {
    check_mpi(status.MPI_ERROR, concat(name_, ": message with rank ", transfer.peer));
  }
  if (transfer.direction == Transfer::Direction::kSend) return;
  int cancelled = 0;
  check_mpi(MPI_Test_cancelled(&status, &cancelled), "MPI_Test_cancelled");
  if (cancelled != 0) return;
  int received = 0;
  check_mpi(MPI_Get_count(&status, MPI_BYTE, &received), "MPI_Get_count");
  const bool too_long = error_class == MPI_ERR_TRUNCATE;
  if (!too_long && received == static_cast<int>(piece.bytes)) return;
  throw MismatchError(concat(name_, ": rank ", transfer.peer, " sent ",
                             too_long ? concat("more than ", piece.bytes) : concat(received),
                             " bytes where ", piece.bytes, " were expected"));
}

void MpiRequests::forget_completed() {
  std::size_t kept = 0;
  for (std::size_t i = 0; i < pieces_.size(); ++i) {
    if (pieces_[i].transfer == nullptr) continue;
    pieces_[kept] = pieces_[i];
    requests_[kept] = requests_[i];
    ++kept;
  }
  pieces_.resize(kept);
  requests_.resize(kept);
}

}  // namespace seq1f1b::comm
