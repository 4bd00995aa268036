#!/usr/bin/env bash
# Runs the tests whose results the instruction set decides once more with every lesser one than this
# processor's best, so that whether they pass does not depend on the machine: all tests of the CPU kernels
# and of what computes with them, and two whole runs.
# Usage: scripts/test_instruction_sets.sh      after scripts/build.sh release
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

. scripts/mpi_env.sh
best=$(SEQ1F1B_INSTRUCTION_SET=auto build/release/seq1f1b --version | sed -n 's/.*, instruction set \([a-z0-9]*\)$/\1/p')
[[ -n $best ]] || { echo "test_instruction_sets: seq1f1b --version names no instruction set" >&2; exit 1; }
for lesser in baseline avx2; do
  [[ $lesser != "$best" ]] || break
  echo "-- $lesser, on a processor with $best"
  SEQ1F1B_INSTRUCTION_SET=$lesser ctest --test-dir build/release --output-on-failure --no-tests=error \
    --tests-regex '^(test_(kernels|checkpoint|model|optimizer|runtime|train):|end_to_end: (complete|layouts)$)'
done
