#!/usr/bin/env bash
# Runs the tests whose results the processor decides once more with every lesser instruction set than
# its best, so that whether they pass does not depend on the machine: all tests of the CPU kernels, and
# every tenth of those that compute with them.
# Usage: scripts/test_instruction_sets.sh [STRIDE]     default 10; 1: all of them
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
stride=${1:-10}

. scripts/mpi_env.sh
best=$(SEQ1F1B_INSTRUCTION_SET= build/release/seq1f1b --version | sed -n 's/.*instruction set \([a-z0-9]*\).*/\1/p')
[[ -n $best ]] || { echo "test_instruction_sets: seq1f1b --version names no instruction set" >&2; exit 1; }
for lesser in baseline avx2; do
  [[ $lesser != "$best" ]] || break
  export SEQ1F1B_INSTRUCTION_SET=$lesser
  echo "-- $lesser, on a processor with $best"
  ctest --test-dir build/release --output-on-failure --no-tests=error --tests-regex '^test_kernels:'
  ctest --test-dir build/release --output-on-failure --no-tests=error -I "1,,$stride" \
    --tests-regex '^(test_apps|test_checkpoint|test_model|test_optimizer|test_runtime|test_train|end_to_end)'
done
