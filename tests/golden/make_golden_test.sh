#!/usr/bin/env bash
# The plain program once more: its values are those that are committed, it reads what `prepare` writes, and it
# continues a checkpoint of seq1f1b from the documents alone. Usage: make_golden_test.sh PROGRAM SOURCE_DIR WORK_DIR
set -euo pipefail
program=$1 golden=$2/tests/golden work=$3
if ! python3 -c 'import numpy' 2>/dev/null; then
  echo "skipped: python3 has no NumPy (Debian: apt-get install python3-numpy)"
  exit 77
fi
. "$2/scripts/mpi_env.sh"
rm -rf "$work"
mkdir -p "$work"
cd "$work"
python3 "$golden/make_golden.py" --check
"$program" prepare "$golden/corpus.txt" --output lines
"$program" prepare "$golden/more.txt" --output more
"$program" prepare "$golden/corpus.txt" --output paragraphs --document-separator '\n\n'
python3 "$golden/make_golden.py" --prepared .
for case in gpt3 llama mixed; do
  $SEQ1F1B_MPIRUN -np 2 "$program" train "$golden/cases/$case.json" checkpoint.directory="$case" \
    checkpoint.save_interval=10 training.train_iters=20 runtime.device=reference \
    parallel.pipeline_model_parallel_size=2 schedule.segments=3 >"$case.out" 2>&1 || { cat "$case.out"; exit 1; }
  # gpt3's gradients grow in these steps (the rate stays high), and rounding with them: 4e-13 in second moments.
  python3 "$golden/make_golden.py" --continue "$case/checkpoints/step_00000010" --steps 10 --tolerance 1e-11
done
