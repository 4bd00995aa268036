#pragma once
// What a test asks of the stand-in for NCCL beside its interface.

namespace seq1f1b::testing {

// The next send, receive or sum of any communicator reports ncclRemoteError in the background.
void fail_next_operation();
// The next send, receive or sum of any communicator never gets into its stream, nor ends.
void stall_next_operation();

struct NcclCounts {
  int made = 0, destroyed = 0, aborted = 0;  // communicators
  int misused = 0;                           // calls that NCCL forbids
  int hung = 0;                              // aborts that would never have returned
};
NcclCounts nccl_counts();

}  // namespace seq1f1b::testing
