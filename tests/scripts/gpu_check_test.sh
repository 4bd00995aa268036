#!/usr/bin/env bash
# scripts/gpu_check.sh with stand-ins for the programs: what becomes of its report when there is no GPU,
# when a program fails or hangs, and when the check itself is killed.
set -euo pipefail
check=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)/scripts/gpu_check.sh
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unset SEQ1F1B_CUDA_MODULE
export SEQ1F1B_BUILD="$work/bin with a space"
mkdir -p "$SEQ1F1B_BUILD"
program() { # NAME, its text on standard input
  { echo '#!/usr/bin/env bash'; cat; } >"$SEQ1F1B_BUILD/$1"
  chmod +x "$SEQ1F1B_BUILD/$1"
}
fail() {
  echo "FAILED: $*" >&2
  for file in out report.md; do [[ -s $work/out/$file ]] && sed "s/^/  $file: /" "$work/out/$file" >&2; done
  sed 's/^/  said: /' "$work/said" >&2
  exit 1
}
# gpu_check CODE ARGUMENTS...: one that hangs runs into the time limit of this test
gpu_check() {
  local expected=$1 code=0
  shift
  rm -rf "$work/out"
  "$check" --output "$work/out" "$@" >"$work/said" 2>&1 || code=$?
  ((code == expected)) || fail "exit code $code instead of $expected"
}
reports() { grep -Fq -- "$1" "$work/out/report.md" || fail "the report lacks: $1"; }

program seq1f1b <<'END'
[[ $1 == --version ]] && echo "seq1f1b 1.2.3, commit 0123456789ab, GNU"
exit 0
END
program mpirun <<'END'
echo "started: $*"
exit 4
END
program cuda_kernels <<'END'
echo "no GPU can be used" >&2
exit 2
END
gpu_check 1 --only tests,kernels
reports '| gpu | FAILED (code 2) |'
reports '| tests | skipped | no GPU |'
grep -q '^LD_LIBRARY_PATH=' "$work/out/gpu.log" || fail "gpu.log says nothing of the libraries"
reports 'commit 0123456789ab'
if "$check" --output "$work/out" --only kernel >"$work/said" 2>&1; then fail "an unknown step passed"; fi

# From here on there is a GPU. A benchmark that fails half-way leaves what it had measured.
program cuda_kernels <<'END'
[[ $1 == --device ]] && { printf 'device\tfake GPU\ndevices\t3\nlibraries\tfake 1.0\n'; exit 0; }
printf 'attention.fake\t123\tTFLOP/s\n'
exit 3
END
# A test that breaks is told from one that does not.
program test_kernels_gpu <<'END'
case ${1:-} in
  --list-test-names-only) printf 'one, of [two]\nanother\n'; exit 2 ;;
  'one\, of \[two\]') echo broken; exit 42 ;;
  another) exit 0 ;;
  '') exit 42 ;;
esac
exit 1
END
gpu_check 1 --only tests,kernels
reports '| test_kernels_gpu | FAILED (code 42) |'
reports '| test_kernels_gpu, test by test | 1 passed | 1 failed'
grep -Pq "^FAILED \(code 42\)\tone" "$work/out/test_kernels_gpu.apart.tsv" ||
  fail "test_kernels_gpu.apart.tsv: $(cat "$work/out/test_kernels_gpu.apart.tsv")"
reports '| kernels_attention | FAILED (code 3) |'
reports '| attention.fake | 123 | TFLOP/s |'
reports 'libraries fake 1.0'
reports 'kernels_attention: cuda_kernels attention'
[[ -s $work/out/logs.tar.gz ]] || fail "no archive of the logs"

# Several GPUs: a rank on each.
PATH=$SEQ1F1B_BUILD:$PATH gpu_check 1 --only nccl
reports '| nccl | FAILED (code 4) |'
grep -q 'started: .*-np 1 .*model.num_layers=8' "$work/out/nccl.log" || fail "$(cat "$work/out/nccl.log")"

# Without data the steps that need none run nevertheless.
cp "$SEQ1F1B_BUILD/seq1f1b" "$work/seq1f1b"
program seq1f1b <<<'exit 7'
gpu_check 1 --only parity,kernels
reports '| prepare | FAILED (code 7) |'
reports '| parity | skipped | no data |'
reports '| attention.fake | 123 | TFLOP/s |'
cp "$work/seq1f1b" "$SEQ1F1B_BUILD/seq1f1b"

# A sanitizer that may not use the GPU says nothing about the kernels.
program compute-sanitizer <<<'echo "Error: Device not supported"; exit 1'
PATH=$SEQ1F1B_BUILD:$PATH gpu_check 0 --only sanitizer
reports '| sanitizer | skipped | it cannot use this GPU: Error: Device not supported |'

# What says that it was skipped has not passed.
program test_kernels_gpu <<<'echo "skipped, no GPU: none"'
gpu_check 0 --only tests
reports '| test_kernels_gpu | skipped | skipped, no GPU: none |'

# A program that hangs costs the time of the check and no more.
program test_kernels_gpu <<<'trap "" TERM; echo begun; while :; do sleep 1; done'
gpu_check 1 --only tests,kernels --seconds 7
reports '| test_kernels_gpu | FAILED (killed) |'
reports '| kernels_attention | skipped | no time left |'
grep -q begun "$work/out/test_kernels_gpu.log" || fail "the output of the killed program is lost"

# Killed from outside, the check leaves its report and no process; killed without being asked, its report
# and the archive.
program test_kernels_gpu <<<'echo $$; exec sleep 300'
begin_tests() {
  rm -rf "$work/out"
  "$check" --output "$work/out" --only tests >"$work/said" 2>&1 &
  job=$!
  until [[ -s $work/out/test_kernels_gpu.log ]]; do
    kill -0 "$job" 2>/dev/null || fail "the check ended before its tests"
    sleep 0.1
  done
}
begin_tests
kill -9 "$job"
wait "$job" && fail "a killed check passed"
kill "$(head -1 "$work/out/test_kernels_gpu.log")"
reports '| gpu | passed |'
tar -xzOf "$work/out/logs.tar.gz" ./report.md | grep -q '| gpu | passed |' || fail "an archive without the report"

begin_tests
kill "$job"
wait "$job" && fail "a killed check passed"
reports '| gpu | passed |'
program_id=$(head -1 "$work/out/test_kernels_gpu.log")
for _ in $(seq 600); do kill -0 "$program_id" 2>/dev/null || exit 0; sleep 0.1; done
fail "process $program_id survived"
