#!/usr/bin/env bash
# test_instruction_sets.sh runs what it names under every lesser instruction set, and fails where a test that it
# names is not there. With a made-up program and ctest.
set -euo pipefail
script=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../scripts" && pwd)/test_instruction_sets.sh
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
mkdir "$build/bin"
PATH=$build/bin:$PATH

processor_has() { printf '#!/bin/sh\necho "seq1f1b 0, commit 0, compiler, instruction set %s"\n' "$1" >"$build/seq1f1b"; }
# ctest -N counts the tests that a build has, by name; without -N it tells what it was asked to run.
cat >"$build/bin/ctest" <<'END'
#!/usr/bin/env bash
for regex; do :; done
count=$(grep -Ec "$regex" "$(dirname "$0")/../tests")
case " $* " in
  *" -N "*) echo "Total Tests: $count" ;;
  *) echo "$SEQ1F1B_INSTRUCTION_SET: $count" ;;
esac
END
processor_has avx512
chmod +x "$build/seq1f1b" "$build/bin/ctest"
all="test_kernels: a
test_kernels: b
test_checkpoint: a
test_model: a
test_optimizer: a
test_runtime: a
test_train: a
end_to_end: complete
end_to_end: layouts
end_to_end: completely_different
test_base: a"

expect() {  # CODE TEXT
  local code=0 text
  text=$("$script" "$build" 2>&1) || code=$?
  if [[ $code != "$1" || $text != "$2" ]]; then
    diff <(echo "exit $1"; echo "$2") <(echo "exit $code"; echo "$text") || true
    exit 1
  fi
}
echo "$all" >"$build/tests"
expect 0 '-- baseline, on a processor with avx512
baseline: 9
-- avx2, on a processor with avx512
avx2: 9'
processor_has avx2
expect 0 '-- baseline, on a processor with avx2
baseline: 9'
processor_has baseline
expect 0 'test_instruction_sets: nothing lesser to run: this processor has no more than the baseline'
processor_has avx2
grep -v model: <<<"$all" >"$build/tests"
expect 1 "test_instruction_sets: $build has no test \"test_model:\""
grep -v 'layouts$' <<<"$all" >"$build/tests"
expect 1 "test_instruction_sets: $build has no test \"end_to_end: layouts\$\""
