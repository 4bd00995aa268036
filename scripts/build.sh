#!/usr/bin/env bash
# Configures and builds one preset, quietly: only the table of what was found, and errors.
# Usage: scripts/build.sh [PRESET] [TARGET ...]     presets: cmake --list-presets
# SEQ1F1B_CMAKE_OPTIONS holds more arguments of cmake: SEQ1F1B_CMAKE_OPTIONS="-DSEQ1F1B_CUDA=ON"
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

preset=${1:-release}
shift || true
read -ra options <<<"${SEQ1F1B_CMAKE_OPTIONS:-}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! cmake --preset "$preset" "${options[@]}" >"$log" 2>&1; then
  cat "$log" >&2
  exit 1
fi
sed -n '/^-- seq1f1b /,/^-- Configuring done/{/^-- Configuring done/d;s/^-- //;p}' "$log"
echo "building preset $preset ..."
targets=()
for target in "$@"; do targets+=(--target "$target"); done
if ! cmake --build --preset "$preset" --parallel "$(nproc)" "${targets[@]}" >"$log" 2>&1; then
  grep -vE '^\[[0-9]+/[0-9]+\] (Building|Linking)' "$log" >&2
  exit 1
fi
grep -E 'warning:' "$log" >&2 || true
