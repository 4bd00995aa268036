#include <regex>
#include <string>

#include "tests/apps/run_program.h"
#include "tests/catch.h"

using seq1f1b::apps::Outcome;
using seq1f1b::apps::run_shell;

namespace {

const std::string kTiny = "'" SEQ1F1B_SOURCE_DIR "/configs/tiny_cpu.yaml'";

bool contains(const Outcome& outcome, const std::string& text) {
  return outcome.output.find(text) != std::string::npos;
}

}  // namespace

TEST_CASE("help and version end well") {
  for (const char* arguments : {"--help", "train --help", "--help-config", "--help-config model"}) {
    CAPTURE(arguments);
    const Outcome outcome = run_shell(std::string("seq1f1b ") + arguments);
    CHECK(outcome.code == 0);
    CHECK(outcome.output.size() > 100);
  }
  const Outcome version = run_shell("seq1f1b --version");
  CHECK(version.code == 0);
  CHECK(version.output.starts_with("seq1f1b "));
  // What it was built from, so that a figure can be traced: "commit 8754886c0a1b", "-dirty" behind
  // it.
  CHECK(
      std::regex_search(version.output, std::regex(", commit ([0-9a-f]{12}(-dirty)?|unknown), ")));
}

TEST_CASE("an instruction set that cannot be had breaks only what asks for it") {
  for (const std::string& arguments : {std::string("--help"), "train " + kTiny + " --print-config",
                                       "plan " + kTiny + " model.vocab_size=257"}) {
    CAPTURE(arguments);
    CHECK(run_shell("SEQ1F1B_INSTRUCTION_SET=sse9 seq1f1b " + arguments).code == 0);
  }
  const Outcome version = run_shell("SEQ1F1B_INSTRUCTION_SET=sse9 seq1f1b --version");
  CHECK(version.code == 2);
  CHECK(contains(version, "sse9"));
}

TEST_CASE("a wrong command line ends with exit code 2 and one line") {
  struct Sample {
    std::string arguments, message;
  };
  const auto sample = GENERATE_REF(values<Sample>(
      {{"trian x", "were not expected: x trian"},
       {"train", "CONFIG is required"},
       {"train --no-such-flag " + kTiny, "not expected: --no-such-flag"},
       {"train " + kTiny + " --dry-run --world-size none", "--world-size"},
       {"train " + kTiny + " --world-size 4", "--world-size goes with --dry-run"},
       {"train /nowhere.yaml", "cannot open /nowhere.yaml: No such file or directory"},
       {"sample ''", "CHECKPOINT: is empty (a variable that is not set?)"},
       {"plan " + kTiny + " --json ''", "--json: is empty"},
       {"prepare '' --output x", "INPUT: is empty"},
       {"train " + kTiny + " checkpoint.resume=", "checkpoint.resume: has no value"},
       {"prepare x --output y --vocab-size 0", "--vocab-size: must be 1 or more, not 0"},
       {"prepare x --output y --vocab-size 99999999999",
        "--vocab-size: '99999999999' is not a whole number, or too large"},
       {"sample x --temperature -1", "--temperature: must be 0 or more, not -1"},
       {"sample x --temperature 1e400", "--temperature: '1e400' is not a number, or too large"},
       {"sample x --seed -1", "--seed: must be 0 or more, not -1"},
       {"sample x --seed 99999999999999999999",
        "--seed: '99999999999999999999' is not a whole number, or too large"},
       {"train " + kTiny + " checkpoint.resume='\"\"'",
        "checkpoint.resume: \"\" is no value; remove the override to leave the key as it is, or "
        "give auto | none | text (auto: the latest, if any; "},
       {"train " + kTiny + " checkpoint.resume=null", "checkpoint.resume: null is no value; "},
       {"train " + kTiny + " checkpoint.directory=\\'\\'",
        "checkpoint.directory: '' is no value; "},
       {"--help-config modle", "there is no section 'modle'"}}));
  CAPTURE(sample.arguments);
  const Outcome outcome = run_shell("seq1f1b " + sample.arguments);
  CAPTURE(outcome.output);
  CHECK(outcome.code == 2);
  CHECK(outcome.output.starts_with("seq1f1b: error: "));
  CHECK(contains(outcome, sample.message));
  CHECK(outcome.output.find('\n') == outcome.output.size() - 1);
}

TEST_CASE("a command whose product is printed fails where it cannot be printed") {
  const std::string command = GENERATE_REF(values<std::string>(
      {"--help", "--version", "--help-config", "plan " + kTiny + " model.vocab_size=257",
       "train " + kTiny + " --dry-run", "train " + kTiny + " --print-config"}));
  for (const std::string output : {" > /dev/full", " >&-"}) {
    CAPTURE(command, output);
    const Outcome outcome = run_shell("seq1f1b " + command + output);
    CAPTURE(outcome.output);
    CHECK(outcome.code == 1);
    CHECK(outcome.output.starts_with("seq1f1b: error: cannot write standard output"));
    CHECK(outcome.output.find('\n') == outcome.output.size() - 1);
  }
}

TEST_CASE("a problem between keys tells those that the command line has set") {
  const Outcome outcome = run_shell("seq1f1b train " + kTiny +
                                    " --dry-run optimizer.lr_warmup_iters=5000 model.num_layers=8");
  CAPTURE(outcome.output);
  CHECK(outcome.code == 2);
  CHECK(contains(outcome, "optimizer.lr_warmup_iters (5000) must be at most "));
  CHECK(contains(outcome, " (command line: optimizer.lr_warmup_iters)\n"));
}

TEST_CASE("no command prints the help and ends with exit code 2") {
  const Outcome outcome = run_shell("seq1f1b");
  CHECK(outcome.code == 2);
  CHECK(contains(outcome, "Usage: seq1f1b"));
}

TEST_CASE("a dry run prints derived values") {
  const Outcome outcome = run_shell("seq1f1b train " + kTiny + " --dry-run training.train_iters=7");
  CHECK(outcome.code == 0);
  CHECK(contains(outcome, "ranks                 4  (tp 1 * cp 1 * pp 4 * dp 1)\n"));
  CHECK(contains(outcome, "micro-batches         8  "));
  CHECK(contains(outcome, "total tokens          14336  (7 steps)\n"));
  CHECK(contains(outcome, "parameters            known with the tokenizer"));
  // Per block 12 h^2 + 13 h with biases; 2 h of the final norm; vocabulary and positions.
  const Outcome sized = run_shell("seq1f1b train " + kTiny + " --dry-run model.vocab_size=257");
  const int count = 4 * (12 * 64 * 64 + 13 * 64) + 2 * 64 + (257 + 256) * 64;
  CHECK(contains(sized, "parameters            " + std::to_string(count) + "\n"));
}

TEST_CASE("a printed configuration is a configuration that prints the same") {
  const Outcome outcome = run_shell(
      "t=$(mktemp -d) && seq1f1b train " + kTiny +
      " --print-config > $t/a.yaml && seq1f1b train $t/a.yaml --print-config > $t/b.yaml && "
      "sed 's/ *#.*//' $t/a.yaml > $t/a && sed 's/ *#.*//' $t/b.yaml > $t/b && diff $t/a $t/b && "
      "grep -c '# derived' $t/a.yaml; code=$?; rm -r $t; (exit $code)");
  CAPTURE(outcome.output);
  CHECK(outcome.code == 0);
  CHECK(std::stoi(outcome.output) >= 4);
}

TEST_CASE("where MPI cannot join the ranks each reports a wrong configuration with its number") {
  const std::string train = "seq1f1b train " + kTiny + " model.num_layers=0";
  for (const std::string variables :
       {"OMPI_COMM_WORLD_SIZE=4 OMPI_COMM_WORLD_RANK=", "SLURM_STEP_NUM_TASKS=4 SLURM_PROCID="}) {
    CAPTURE(variables);
    for (const std::string rank : {"0", "3"}) {
      const Outcome outcome = run_shell("export " + variables + rank + "; " + train);
      CHECK(outcome.code == 2);
      CHECK(outcome.output.starts_with("seq1f1b: error: rank " + rank + ": command line: "));
      CHECK(contains(outcome, "model.num_layers: must be 1 to 65536, not 0"));
    }
  }
}

TEST_CASE("the number of launched ranks is checked before anything is started") {
  const Outcome alone = run_shell("seq1f1b train " + kTiny);
  CHECK(alone.code == 2);
  CHECK(contains(alone, "start 4 ranks (mpirun -np 4)"));
  const Outcome three =
      run_shell("export OMPI_COMM_WORLD_SIZE=3 OMPI_COMM_WORLD_RANK=0; seq1f1b train " + kTiny);
  CHECK(three.code == 2);
  CHECK(contains(three, "world size 3 must be"));
}

TEST_CASE("training asks for its data and its run directory before anything is started") {
  const Outcome outcome =
      run_shell("f=$(mktemp) && echo '{}' > $f && seq1f1b train $f; code=$?; rm $f; (exit $code)");
  CHECK(outcome.code == 2);
  CHECK(contains(outcome, "data.train is empty"));
  CHECK(contains(outcome, "checkpoint.directory is not set"));
}
