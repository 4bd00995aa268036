#pragma once
// Steps that may fail on one rank alone (opening files, building data) end alike on all ranks.
#include <functional>
#include <string>

#include "core/comm/group.h"
#include "kernels/common/errors.h"

namespace seq1f1b::train {

// An error that every rank throws with the same code and message: one rank reports it, and all
// leave in good order. Any other error on a single rank has to abort the job.
class AgreedError : public Error {
 public:
  using Error::Error;
};

// Runs `step` on every rank, watched over under the name `what` (Group::watch); a long one says
// through the watch that it comes on. When it failed with an Error anywhere, every rank throws that
// of the lowest rank that failed as an AgreedError. Collective; `step` itself is not.
void agree(comm::Group& group, const std::string& what,
           const std::function<void(comm::Watch&)>& step);
void agree(comm::Group& group, const std::string& what, const std::function<void()>& step);

// Throws an AgreedError with kExitMismatch, naming the ranks that differ from rank 0, the first
// line in which one does and what all ranks must do, unless `mine` is equal everywhere. Collective.
void require_equal(comm::Group& group, const std::string& what, const std::string& mine,
                   const std::string& must = "run the same program with the same configuration");

}  // namespace seq1f1b::train
