// What a job says and returns when something goes wrong in it.
#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <string>

#include "kernels/common/errors.h"
#include "tests/catch.h"

using namespace seq1f1b;

namespace {

struct Outcome {
  int exit_code = -1;
  std::string output;

  bool says(const std::string& text) const { return output.find(text) != std::string::npos; }
};

Outcome run(const std::string& command) {
  Outcome outcome;
  FILE* pipe = popen(command.c_str(), "r");
  REQUIRE(pipe != nullptr);
  std::array<char, 4096> buffer{};
  while (std::fgets(buffer.data(), buffer.size(), pipe) != nullptr) outcome.output += buffer.data();
  const int status = pclose(pipe);
  if (WIFEXITED(status)) outcome.exit_code = WEXITSTATUS(status);
  return outcome;
}

const std::string kProgram = "\"" SEQ1F1B_BINARY_DIR "/comm_faults\" ";

// mpirun starts two ranks; `timeout` only keeps a defect from blocking the tests for ever.
Outcome run_fault(const std::string& fault) {
  return run(concat("bash -c '. \"", SEQ1F1B_SOURCE_DIR,
                    "/scripts/mpi_env.sh\" && exec timeout 60 $SEQ1F1B_MPIRUN -n 2 ", kProgram,
                    fault, "' 2>&1"));
}

}  // namespace

TEST_CASE("a peer that never sends ends the job with the deadline's code and message") {
  for (const char* fault : {"silent", "stopped"}) {
    const Outcome outcome = run_fault(fault);
    INFO(fault << ": " << outcome.output);
    CHECK(outcome.exit_code == kExitDeadline);
    CHECK(outcome.says("rank 0 ("));
    CHECK(outcome.says("waited 2 s for rank 1 while forward of micro-batch 0, segment 2 (step 7)"));
    CHECK(outcome.says("for the log: rank 0 ("));
  }
}

TEST_CASE("a peer that never makes room is named") {
  const Outcome outcome = run_fault("unread");
  INFO(outcome.output);
  CHECK(outcome.exit_code == kExitDeadline);
  CHECK(outcome.says("for rank 1 while backward of micro-batch 1, segment 0 (step 7)"));
}

TEST_CASE("in a deadlock every rank has its say") {
  const Outcome outcome = run_fault("deadlocked");
  INFO(outcome.output);
  CHECK(outcome.exit_code == kExitDeadline);
  CHECK(outcome.says("for rank 0 while"));
  CHECK(outcome.says("for rank 1 while"));
}

TEST_CASE("a member that does not come is named") {
  const Outcome outcome = run_fault("missing_member");
  INFO(outcome.output);
  CHECK(outcome.exit_code == kExitDeadline);
  CHECK(outcome.says("waited 2 s for rank 1 while norm of step 4"));
}

TEST_CASE("a rank that does not start or leave is noticed") {
  const Outcome start = run_fault("never_starts");
  INFO(start.output);
  CHECK(start.exit_code == kExitDeadline);
  CHECK(start.says("waited 2 s for all ranks to start"));
  const Outcome leave = run_fault("never_leaves");
  INFO(leave.output);
  CHECK(leave.exit_code == kExitDeadline);
  CHECK(leave.says("waited 2 s for rank 1 while leaving the job"));
}

TEST_CASE("a rank that hangs in a file ends the job, though nobody waits for it") {
  const Outcome outcome = run_fault("reads_a_pipe");
  INFO(outcome.output);
  CHECK(outcome.exit_code == kExitDeadline);
  CHECK(outcome.says("made no progress for 2 s while reading a pipe"));
  CHECK(outcome.says("for the log: rank 1 ("));
}

TEST_CASE("a message left behind is noticed when its channel closes") {
  const Outcome outcome = run_fault("unfinished");
  INFO(outcome.output);
  CHECK(outcome.exit_code == kExitDeadline);
  CHECK(outcome.says("for rank 1 while closing a channel"));
}

TEST_CASE("a killed rank ends the job") {
  // mpirun itself kills the others, and reports the signal.
  CHECK(run_fault("killed").exit_code == 137);
}

TEST_CASE("ranks of a job that disagree on a message's size are told so") {
  const Outcome shorter = run_fault("too_short");
  INFO(shorter.output);
  CHECK(shorter.exit_code == kExitMismatch);
  CHECK(shorter.says("rank 1 sent 99 bytes where 100 were expected"));
  const Outcome longer = run_fault("too_long");
  INFO(longer.output);
  CHECK(longer.exit_code == kExitMismatch);
  CHECK(longer.says("rank 1 sent more than 100 bytes where 100 were expected"));
}

TEST_CASE("an exception with messages under way keeps its exit code") {
  const Outcome outcome = run_fault("thrown");
  INFO(outcome.output);
  CHECK(outcome.exit_code == kExitData);
  CHECK(outcome.says("truncated at byte 4096"));
}

TEST_CASE("a single process needs no launcher, nor a folder to write to") {
  const Outcome alone = run("cd /proc && " + kProgram + "fine 2>&1");
  INFO(alone.output);
  CHECK(alone.exit_code == kExitComplete);
  CHECK(alone.output.empty());
}

TEST_CASE("a Slurm job started without srun is told how to start") {
  const Outcome outcome = run("SLURM_NTASKS=4 " + kProgram + "fine 2>&1");
  INFO(outcome.output);
  CHECK(outcome.exit_code == kExitConfiguration);
  CHECK(outcome.says("Slurm provides 4 tasks"));
}
