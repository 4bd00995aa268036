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

TEST_CASE("a start anew says what it leaves beside itself, and rotates only its own", "[run]") {
  const TinyRun run;
  REQUIRE(
      run.train("training.train_iters=8 checkpoint.save_interval=2 checkpoint.keep_last=0").code ==
      0);
  const std::string saving = "checkpoint.save_interval=1 checkpoint.keep_last=1 ";
  const Outcome outcome = run.train(saving + "checkpoint.resume=none training.train_iters=3");
  CAPTURE(outcome.output);
  REQUIRE(outcome.code == 0);
  CHECK(contains(outcome.output,
                 "starts anew beside 4 checkpoints of an earlier run, up to "
                 "run/checkpoints/step_00000008; none is removed, but a step that is saved again "
                 "is replaced\n"));
  // Going on, likewise. Steps 2 and 4 were saved again.
  REQUIRE(run.train(saving + "training.train_iters=5").code == 0);
  CHECK(run.checkpoints() ==
        std::vector<std::string>{"latest", "step_00000005", "step_00000006", "step_00000008"});
}

TEST_CASE("a run from another directory's checkpoint says what it leaves beside itself", "[run]") {
  const TinyRun run;
  REQUIRE(run.train("training.train_iters=4 checkpoint.save_interval=2").code == 0);
  const std::string other = "checkpoint.directory=other checkpoint.keep_last=1 ";
  REQUIRE(run.train(other + "training.train_iters=3").code == 0);
  const Outcome outcome =
      run.train(other + "training.train_iters=6 checkpoint.resume=run/checkpoints/step_00000004");
  CAPTURE(outcome.output);
  REQUIRE(outcome.code == 0);
  CHECK(contains(outcome.output,
                 "goes on beside 1 checkpoint of an earlier run, up to "
                 "other/checkpoints/step_00000003; none is removed, "));
  CHECK(run.shell("ls other/checkpoints").output == "latest\nstep_00000003\nstep_00000006\n");
}

TEST_CASE("data.train that names a file says what it takes", "[run]") {
  const TinyRun run;
  const auto train = [&](const std::string& data) {
    return run.shell("echo text > text.txt; touch a.bin a.idx; mkdir -p d; train data.train=" +
                     data);
  };
  const Outcome text = train("text.txt");
  CHECK(text.code == 2);
  CHECK(
      contains(text.output, "(seq1f1b prepare text.txt --output text), then set data.train: text"));
  CHECK(contains(train("a.bin").output, "data.train: a.bin is no prefix: "));
  CHECK(contains(train("a.bin").output, "Write a\n"));
  CHECK(contains(train("d").output, "and this is a folder. Name a corpus in it, like d/corpus\n"));
}
