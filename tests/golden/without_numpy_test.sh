#!/usr/bin/env bash
# Where no python3 has NumPy make_golden_test.sh is skipped, and fails where NumPy is required, as in .ci/run.
set -euo pipefail
run() {
  local code=0
  text=$("$@" "$test" program source work) || code=$?
  echo "$code $text"
}
test=$1/make_golden_test.sh
lacking="python3 has no NumPy (Debian: apt-get install python3-numpy)"
[[ $(run env -u SEQ1F1B_REQUIRE_NUMPY SEQ1F1B_PYTHON=false) == "77 skipped: $lacking" ]]
[[ $(run env SEQ1F1B_REQUIRE_NUMPY=1 SEQ1F1B_PYTHON="false no-such-python") == "1 failed: $lacking" ]]
