#!/usr/bin/env bash
# Checks the emulated CUDA kernels with the address and undefined-behaviour sanitizers (preset asan):
# builds the programs that run them and their tests, and nothing else. Every instance of a kernel that
# these programs hold must have run in one of them.
# Usage: scripts/test_sanitized.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

programs=(test_simt test_kernels_simt test_cuda_attention_sm90 test_cuda_attention_split
  test_cuda_pointwise test_cuda_linear test_cuda_device)
# NVIDIA's libraries do not bear the sanitizers: whatever the caller builds with CUDA, this does not.
SEQ1F1B_CMAKE_OPTIONS="${SEQ1F1B_CMAKE_OPTIONS:-} -DSEQ1F1B_CUDA=OFF" scripts/build.sh asan "${programs[@]}"

SEQ1F1B_SIMT_KERNELS=$(mktemp)
export SEQ1F1B_SIMT_KERNELS
trap 'rm -f "$SEQ1F1B_SIMT_KERNELS"' EXIT
# A second stack for each of a block's fibers, to see uses of what has returned, takes most of the time.
export ASAN_OPTIONS="detect_stack_use_after_return=0${ASAN_OPTIONS:+:$ASAN_OPTIONS}"
names=$(IFS='|'; echo "${programs[*]}")
ctest --test-dir build/asan --output-on-failure --parallel "$(nproc)" --no-tests=error \
  --tests-regex "^($names):"

awk -F'\t' '
  { runs[$2] += $1 }
  END {
    for (kernel in runs) {
      ++kernels
      if (runs[kernel] > 0) continue
      print "no test runs " kernel
      ++missing
    }
    printf "%d kernels ran under the sanitizers, %d did not\n", kernels - missing, missing
    exit missing > 0 || kernels == 0
  }' "$SEQ1F1B_SIMT_KERNELS"
