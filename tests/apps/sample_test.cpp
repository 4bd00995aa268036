#include "tests/apps/tiny_run.h"
#include "tests/catch.h"

using namespace seq1f1b::apps;

TEST_CASE("a folder of checkpoints is no checkpoint, but names one", "[run]") {
  const TinyRun run;
  REQUIRE(run.train("").code == 0);
  for (const std::string path : {"run", "run/checkpoints", "run/checkpoints/"}) {
    const Outcome outcome = run.train("training.train_iters=3 checkpoint.resume=" + path);
    CAPTURE(outcome.output);
    CHECK(outcome.code == 3);
    CHECK(contains(outcome.output,
                   "; the newest checkpoint in it is run/checkpoints/step_00000002\n"));
  }
  const Outcome marker = run.train("checkpoint.resume=run/checkpoints/latest");
  CHECK(marker.code == 3);
  CHECK(contains(marker.output,
                 "run/checkpoints/latest is a file that names a checkpoint, not one "
                 "itself: name run/checkpoints/step_00000002\n"));
  CHECK(run.shell("seq1f1b sample run --tokens 3 --prompt 'line 1'").output.starts_with("line 1"));
}
