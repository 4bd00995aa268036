// What a start says of a run that goes another way than it went.
#include "tests/apps/tiny_run.h"
#include "tests/catch.h"

using namespace seq1f1b::apps;

TEST_CASE("a learning rate that jumps where a run is extended is told", "[run]") {
  const TinyRun run;
  REQUIRE(run.train("").code == 0);
  const Outcome outcome = run.train("training.train_iters=4 checkpoint.save_interval=1");
  CAPTURE(outcome.output);
  CHECK(outcome.code == 0);
  CHECK(contains(outcome.output,
                 "the learning rate of step 3 is 0.000325 and would have been 0.0001 as the "
                 "checkpoint was going: training.train_iters was 2 and is 4, "
                 "optimizer.lr_decay_iters was 2 and is 4\n"));
  const Outcome again = run.train(
      "training.train_iters=4 checkpoint.resume=run/checkpoints/"
      "step_00000003 checkpoint.keep_last=0");
  CAPTURE(again.output);
  CHECK(again.code == 0);
  CHECK_FALSE(contains(again.output, "learning rate"));
  CHECK(contains(again.output, "metrics.jsonl goes back from step 4 to step 3\n"));
  CHECK(contains(again.output,
                 "checkpoints of later steps stay, up to run/checkpoints/"
                 "step_00000004, until they are saved again\n"));
  CHECK(contains(run.file("metrics.jsonl"), R"({"event":"resume","step":3,"last_step":4})"));
}

TEST_CASE("a run that begins again because nothing was saved says that its steps go back",
          "[run]") {
  const TinyRun run;
  REQUIRE(run.train("checkpoint.save_interval=-1").code == 0);
  CHECK_FALSE(contains(run.file("metrics.jsonl"), "restart"));
  const Outcome outcome = run.train("");
  CAPTURE(outcome.output);
  CHECK(contains(outcome.output, "metrics.jsonl goes back from step 2 to step 0\n"));
  CHECK(contains(run.file("metrics.jsonl"), R"({"event":"restart","step":0,"last_step":2})"));
}

TEST_CASE("a run that was complete elsewhere announces what is there", "[run]") {
  const TinyRun run;
  REQUIRE(run.train("").code == 0);
  CHECK(contains(run.train("").output, "schedule picture  run/schedule.svg"));
  const Outcome outcome =
      run.train("checkpoint.directory=other checkpoint.resume=run/checkpoints/step_00000002");
  CAPTURE(outcome.output);
  CHECK(outcome.code == 0);
  CHECK(contains(outcome.output, "already complete"));
  CHECK_FALSE(contains(outcome.output, ".svg"));
}
