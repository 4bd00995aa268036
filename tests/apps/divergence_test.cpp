// What is not finite is not saved, and nothing that was saved goes for it.
#include "tests/apps/tiny_run.h"
#include "tests/catch.h"

using namespace seq1f1b::apps;

namespace {

using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("an empty resume is refused before it costs the run its checkpoints", "[run]") {
  const TinyRun run;
  REQUIRE(run.train("").code == 0);
  const Outcome outcome =
      run.train("training.train_iters=4 checkpoint.save_interval=1 checkpoint.resume=$UNSET");
  CAPTURE(outcome.output);
  CHECK(outcome.code == 2);
  CHECK(contains(outcome.output, "checkpoint.resume: has no value (a variable that is not set?)"));
  CHECK(run.checkpoints() == Names{"latest", "step_00000002"});
}

TEST_CASE("weights that an update makes infinite end the run, and the good ones stay", "[run]") {
  const TinyRun run;
  REQUIRE(run.train("").code == 0);
  const Outcome outcome = run.train(
      "training.train_iters=6 optimizer.lr=1e39 optimizer.min_lr=1e39 checkpoint.save_interval=1 "
      "checkpoint.keep_last=1");
  CAPTURE(outcome.output);
  CHECK(outcome.code == 16);
  CHECK(contains(outcome.output, "step 3: embedding.token.weight is not finite after the update"));
  CHECK(
      contains(outcome.output,
               "Use a smaller optimizer.lr or a longer optimizer.lr_warmup_iters, and resume from "
               "the last checkpoint (checkpoint.resume=run/checkpoints/step_00000002); "));
  CHECK(run.checkpoints() == Names{"latest", "step_00000002"});
  CHECK(run.file("checkpoints/latest") == "step_00000002\n");
  CHECK(run.train("training.train_iters=3").code == 0);
}

TEST_CASE("weights that diverged before they were saved are told, and what lies before", "[run]") {
  const TinyRun run;
  REQUIRE(run.train("").code == 0);
  const Outcome outcome = run.train(
      "training.train_iters=6 optimizer.lr=1e30 optimizer.min_lr=0 checkpoint.save_interval=1 "
      "training.eval_interval=100");
  CAPTURE(outcome.output);
  CHECK(outcome.code == 16);
  CHECK(contains(outcome.output, "step 4: the loss is nan and the gradient norm nan; "));
  CHECK(contains(
      outcome.output,
      "resume from an earlier checkpoint (checkpoint.resume=run/checkpoints/"
      "step_00000002): the weights of run/checkpoints/step_00000003 have diverged already"));
}

TEST_CASE("a last step, or an evaluation, that is not finite does not end well", "[run]") {
  // Of one step, whose loss and norm are fine: its weights are finite, what they compute is not.
  const TinyRun evaluated;
  Outcome outcome = evaluated.train("training.train_iters=1 optimizer.lr=1e30 optimizer.min_lr=0");
  CAPTURE(outcome.output);
  CHECK(outcome.code == 16);
  CHECK(contains(outcome.output, "step 1: the validation loss is "));
  CHECK(evaluated.checkpoints().empty());
  // Nothing held out, nothing to be saved.
  const TinyRun alone;
  outcome = alone.train(
      "training.train_iters=1 optimizer.lr=1e39 optimizer.min_lr=0 data.split=1,0,0 "
      "checkpoint.save_interval=-1");
  CAPTURE(outcome.output);
  CHECK(outcome.code == 16);
  CHECK(contains(outcome.output, "is not finite after the update"));
}
