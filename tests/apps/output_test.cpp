// Standard output that is full, closed or read no further: a run needs nobody who watches it.
#include "tests/apps/tiny_run.h"
#include "tests/catch.h"

using namespace seq1f1b::apps;

TEST_CASE("a run goes on when its lines cannot be shown", "[run]") {
  const TinyRun run;
  const std::string output = GENERATE(" > /dev/full", " >&-", " | true", " >&- 2>&- <&-");
  CAPTURE(output);
  const Outcome outcome = run.shell("{ train; echo $? > code; }" + output + "; cat code");
  CAPTURE(outcome.output);
  CHECK(outcome.output == "0\n");
  CHECK(run.checkpoints() == std::vector<std::string>{"latest", "step_00000002"});
  // What is generated is the product.
  const Outcome sampled = run.shell("seq1f1b sample run --tokens 3 > /dev/full");
  CHECK(sampled.code == 1);
  CHECK(contains(sampled.output, "seq1f1b: error: cannot write standard output"));
}

TEST_CASE("what a run opens is not taken for a stream that the caller has closed", "[run]") {
  const TinyRun run;
  const Outcome outcome = run.shell(
      "{ train training.train_iters=100000 <&- >&- 2>&- & }; first=$!; "
      "for i in $(seq 600); do grep -qs '\"step\"' run/metrics.jsonl && break; sleep 0.05; done; "
      "run=$(pgrep -P $first || echo $first); for i in 0 1 2; do readlink /proc/$run/fd/$i; done; "
      "kill -KILL $run $first; wait $first 2> killed; true");
  CAPTURE(outcome.output);
  CHECK(contains(outcome.output, "/dev/null\n/dev/null\n/dev/null\n"));
}
