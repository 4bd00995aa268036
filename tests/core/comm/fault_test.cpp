// What a job says and returns when something goes wrong in it.
#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <string>
#include <vector>

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
Outcome run_fault(const std::string& fault, double deadline = 2) {
  return run(concat("bash -c '. \"", SEQ1F1B_SOURCE_DIR,
                    "/scripts/mpi_env.sh\" && exec timeout 100 $SEQ1F1B_MPIRUN -n 2 ", kProgram,
                    fault, " ", deadline, "' 2>&1"));
}

// The job ends with the deadline's code and says all of `texts`, where "DEADLINE" stands for its
// seconds. On a busy machine a short one may expire elsewhere, in a rank that starts late for
// instance: then a longer one.
void check_deadline(const std::string& fault, const std::vector<std::string>& texts) {
  Outcome outcome;
  bool right = false;
  for (const int deadline : {2, 8, 32}) {
    outcome = run_fault(fault, deadline);
    right = outcome.exit_code == kExitDeadline;
    for (std::string text : texts) {
      if (const auto at = text.find("DEADLINE"); at != std::string::npos)
        text.replace(at, 8, std::to_string(deadline));
      right = right && outcome.says(text);
    }
    if (right) break;
  }
  INFO(fault << ", exit code " << outcome.exit_code << ": " << outcome.output);
  CHECK(right);
}

}  // namespace

TEST_CASE("a peer that never sends ends the job with the deadline's code and message") {
  for (const char* fault : {"silent", "stopped"})
    check_deadline(fault, {"rank 0 (", "for the log: rank 0 (",
                           "waited DEADLINE s for rank 1 while forward of micro-batch 0, segment 2 "
                           "(step 7)"});
}

TEST_CASE("a peer that never makes room is named") {
  check_deadline("unread", {"for rank 1 while backward of micro-batch 1, segment 0 (step 7)"});
}

TEST_CASE("in a deadlock every rank has its say") {
  check_deadline("deadlocked", {"for rank 0 while", "for rank 1 while"});
}

TEST_CASE("a member that does not come is named") {
  check_deadline("missing_member", {"waited DEADLINE s for rank 1 while norm of step 4"});
}

TEST_CASE("a rank that does not start or leave is noticed") {
  check_deadline("never_starts",
                 {"seq1f1b: error: rank 0 (", "waited DEADLINE s for all 2 ranks to start; ",
                  "Check that every rank runs", "raise runtime.deadline_seconds"});
  check_deadline("never_leaves", {"waited DEADLINE s for rank 1 while leaving the job"});
}

TEST_CASE("a rank that hangs in a file ends the job, though nobody waits for it") {
  check_deadline("reads_a_pipe", {"made no progress for DEADLINE s while reading a pipe",
                                  "for the log: rank 1 (", "seq1f1b: error: rank 1 ("});
}

TEST_CASE("a message left behind is noticed when its channel closes") {
  check_deadline("unfinished", {"for rank 1 while closing a channel"});
}

TEST_CASE("a killed rank ends the job") {
  // mpirun itself kills the others, and reports the signal.
  CHECK(run_fault("killed", 60).exit_code == 137);
}

TEST_CASE("ranks of a job that disagree on a message's size are told so") {
  const Outcome shorter = run_fault("too_short", 60);
  INFO(shorter.output);
  CHECK(shorter.exit_code == kExitMismatch);
  CHECK(shorter.says("rank 1 sent 99 bytes where 100 were expected"));
  const Outcome longer = run_fault("too_long", 60);
  INFO(longer.output);
  CHECK(longer.exit_code == kExitMismatch);
  CHECK(longer.says("rank 1 sent more than 100 bytes where 100 were expected"));
}

TEST_CASE("an exception with messages under way keeps its exit code") {
  for (const char* fault : {"thrown", "thrown_in_sum"}) {
    const Outcome outcome = run_fault(fault, 60);
    INFO(fault << ": " << outcome.output);
    CHECK(outcome.exit_code == kExitData);
    CHECK(outcome.says("truncated at byte 4096"));
  }
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
