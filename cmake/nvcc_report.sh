#!/usr/bin/env bash
# A compiler launcher: runs the command and keeps what ptxas reports of registers and spills in
# OBJECT.ptxas, beside the object; everything else that is said goes on to the caller.
# Usage: nvcc_report.sh COMMAND... -o OBJECT ...
set -uo pipefail

object=
for ((i = 1; i < $#; i++)); do
  [[ ${!i} == -o ]] && { next=$((i + 1)); object=${!next}; }
done
said=$("$@" 2>&1)
code=$?
report='^ptxas info|bytes stack frame, .* bytes spill|^ *Compile time'
if [[ -n $object && $code == 0 ]]; then
  grep -E "$report" <<<"$said" >"$object.ptxas"
fi
grep -Ev "$report" <<<"$said" | grep . >&2
exit $code
