// Ranks that cannot begin, under mpirun: the job says so once, whoever they are.
#include <string>

#include "tests/apps/run_program.h"
#include "tests/catch.h"

using seq1f1b::apps::Outcome;
using seq1f1b::apps::run_shell;

namespace {

// `script` runs on each of the ranks, $r; "train" there trains the tiny model as a pipeline of
// them. `timeout` only keeps a defect from blocking the tests for ever.
Outcome mpirun(int ranks, const std::string& script) {
  const std::string count = std::to_string(ranks);
  return run_shell(". '" SEQ1F1B_SOURCE_DIR
                   "/scripts/mpi_env.sh'; timeout 100 "
                   "$SEQ1F1B_MPIRUN -np " +
                   count +
                   " sh -c 'r=$OMPI_COMM_WORLD_RANK; p=" SEQ1F1B_BINARY_DIR
                   "/seq1f1b; c=" SEQ1F1B_SOURCE_DIR
                   "/configs/tiny_cpu.yaml; o=\"data.train=/nowhere/text "
                   "checkpoint.directory=/nowhere/run parallel.pipeline_model_parallel_size=" +
                   count + "\"; " + script + "'");
}

}  // namespace

TEST_CASE("the lowest rank that cannot begin speaks, and all return its code", "[ranks]") {
  struct Sample {
    int ranks;
    std::string script, message;
  };
  const auto sample = GENERATE(values<Sample>({
      {2, "[ $r = 0 ] || c=/nowhere/$r.yaml; exec $p train $c $o",
       "rank 1: cannot open /nowhere/1.yaml: No such file or directory (the configuration file)"},
      {3, "[ $r = 0 ] || c=/nowhere/$r.yaml; exec $p train $c $o",
       "rank 1: cannot open /nowhere/1.yaml: No such file or directory (the configuration file) (1 "
       "other rank cannot begin either)"},
      {2, "[ $r = 1 ] && exec $p trian $c $o; exec $p train $c $o",
       "rank 1: The following arguments were not expected: "},
      {2, "[ $r = 0 ] && exec $p; exec $p train $c $o", "rank 0: no command"},
      {2, "exec $p train $c $o model.num_layers=0",
       "command line: model.num_layers=0: model.num_layers: must be 1 to 65536, not 0"},
  }));
  CAPTURE(sample.script);
  const Outcome outcome = mpirun(sample.ranks, sample.script);
  CAPTURE(outcome.output);
  CHECK(outcome.code == 2);
  CHECK(outcome.output.starts_with("seq1f1b: error: " + sample.message));
  CHECK(outcome.output.find('\n') == outcome.output.size() - 1);
}
