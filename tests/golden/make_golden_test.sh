#!/usr/bin/env bash
# The plain program once more: its values are those that are committed, it reads what `prepare` writes, and it
# continues a checkpoint of seq1f1b from the documents alone. Usage: make_golden_test.sh PROGRAM SOURCE_DIR WORK_DIR
# SEQ1F1B_PYTHON: the interpreters to look for NumPy in, the first that has it is used. SEQ1F1B_REQUIRE_NUMPY: a
# failure, where otherwise the test is skipped.
set -euo pipefail
program=$1 golden=$2/tests/golden work=$3
# Debian's package is for Debian's own python3, which need not be the first.
python=
for candidate in ${SEQ1F1B_PYTHON:-python3 /usr/bin/python3}; do
  if "$candidate" -c 'import numpy' 2>/dev/null; then
    python=$candidate
    break
  fi
done
if [[ -z $python ]]; then
  lacking="python3 has no NumPy (Debian: apt-get install python3-numpy)"
  if [[ -n ${SEQ1F1B_REQUIRE_NUMPY:-} ]]; then
    echo "failed: $lacking"
    exit 1
  fi
  echo "skipped: $lacking"
  exit 77
fi
. "$2/scripts/mpi_env.sh"
rm -rf "$work"
mkdir -p "$work"
cd "$work"
"$python" "$golden/make_golden.py" --check
"$program" prepare "$golden/corpus.txt" --output lines
"$program" prepare "$golden/more.txt" --output more
"$program" prepare "$golden/corpus.txt" --output paragraphs --document-separator '\n\n'
"$python" "$golden/make_golden.py" --prepared .
for case in gpt3 llama mixed; do
  $SEQ1F1B_MPIRUN -np 2 "$program" train "$golden/cases/$case.json" checkpoint.directory="$case" \
    checkpoint.save_interval=10 training.train_iters=20 runtime.device=reference \
    parallel.pipeline_model_parallel_size=2 schedule.segments=3 >"$case.out" 2>&1 || { cat "$case.out"; exit 1; }
  # gpt3's gradients grow in these steps (the rate stays high), and rounding with them: 4e-13 in second moments.
  "$python" "$golden/make_golden.py" --continue "$case/checkpoints/step_00000010" --steps 10 --tolerance 1e-11
done
