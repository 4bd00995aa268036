// A run directory belongs to one job.
#include "tests/apps/tiny_run.h"
#include "tests/catch.h"

using namespace seq1f1b::apps;

TEST_CASE("a second job in a run directory is refused before it touches anything", "[run]") {
  const TinyRun run;
  // The first trains until it is killed.
  const Outcome outcome = run.shell(
      "{ train training.train_iters=100000 > first 2>&1 & }; first=$!; "
      "for i in $(seq 600); do grep -qs '\"step\"' run/metrics.jsonl && break; sleep 0.05; done; "
      "size=$(stat -c %s run/logs/rank_00000.log); "
      "train checkpoint.resume=none; echo code $?; seq1f1b doctor run > doctor; echo doctor $?; "
      "[ $(stat -c %s run/logs/rank_00000.log) = $size ] && grep -q '\"step\": *1[,}]' "
      "run/metrics.jsonl && echo untouched; pkill -KILL -P $first; kill -KILL $first; wait $first; "
      "train");
  CAPTURE(outcome.output);
  CHECK(contains(outcome.output, "seq1f1b: error: the run directory run is in use by process "));
  CHECK(contains(outcome.output, ", started 20"));
  CHECK(contains(outcome.output, "code 2\ndoctor 0\nuntouched\n"));
  // The kernel has given the lock back.
  CHECK(contains(outcome.output, "the run directory run is taken over: process "));
  CHECK(contains(outcome.output, "step 2: saved run/checkpoints/step_00000002"));
  CHECK(outcome.code == 0);
  CHECK(run.file("lock").empty());
}

TEST_CASE("two run directories that share checkpoints through a link are one job's", "[run]") {
  const TinyRun run;
  // The folder of the first run itself, or one to which both have links.
  const bool own = GENERATE(true, false);
  const Outcome outcome = run.shell(
      std::string("mkdir -p run other shared; ln -s ../") + (own ? "run/checkpoints" : "shared") +
      " other/checkpoints; " + (own ? "" : "ln -s ../shared run/checkpoints; ") +
      "{ train training.train_iters=100000 > first 2>&1 & }; first=$!; "
      "for i in $(seq 600); do grep -qs '\"step\"' run/metrics.jsonl && break; sleep 0.05; done; "
      "train checkpoint.directory=other; echo code $?; "
      "pkill -KILL -P $first; kill -KILL $first; wait $first; train checkpoint.directory=other");
  CAPTURE(outcome.output);
  CHECK(contains(outcome.output, "seq1f1b: error: the folder of checkpoints "));
  CHECK(contains(outcome.output, " is in use by process "));
  CHECK(contains(outcome.output, "code 2\n"));
  CHECK(outcome.code == 0);
}
