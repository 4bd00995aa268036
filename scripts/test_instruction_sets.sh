#!/usr/bin/env bash
# Runs the tests whose results the instruction set decides once more with every lesser one than this
# processor's best, so that whether they pass does not depend on the machine: all tests of the CPU kernels
# and of what computes with them, and two whole runs.
# Usage: scripts/test_instruction_sets.sh [BUILD]      after scripts/build.sh release, which is the default
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
build=${1:-build/release}

. scripts/mpi_env.sh
best=$(SEQ1F1B_INSTRUCTION_SET=auto "$build/seq1f1b" --version | sed -n 's/.*, instruction set \([a-z0-9]*\)$/\1/p')
[[ -n $best ]] || { echo "test_instruction_sets: seq1f1b --version names no instruction set" >&2; exit 1; }
if [[ $best == baseline ]]; then
  echo "test_instruction_sets: nothing lesser to run: this processor has no more than the baseline"
  exit 0
fi

names=(test_{kernels,checkpoint,model,optimizer,runtime,train}: 'end_to_end: complete$' 'end_to_end: layouts$')
# A test that was renamed must not leave this list in silence.
for name in "${names[@]}"; do
  count=$(ctest --test-dir "$build" -N --tests-regex "^$name" | sed -n 's/^Total Tests: *//p')
  [[ ${count:-0} -gt 0 ]] || { echo "test_instruction_sets: $build has no test \"$name\"" >&2; exit 1; }
done
for lesser in baseline avx2; do
  [[ $lesser != "$best" ]] || break
  echo "-- $lesser, on a processor with $best"
  SEQ1F1B_INSTRUCTION_SET=$lesser ctest --test-dir "$build" --output-on-failure --no-tests=error \
    --tests-regex "^($(IFS='|' && echo "${names[*]}"))"
done
