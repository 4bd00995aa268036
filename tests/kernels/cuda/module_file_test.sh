#!/usr/bin/env bash
# What the dynamic linker sees of the module: one function, no driver library (it would not load on a
# machine without a GPU), and a path that finds its libraries beside it.
# Usage: module_file_test.sh FILE FOLDER...: folders of libraries, which that path has to name
set -euo pipefail

fail() {
  echo "$1: $2" >&2
  exit 1
}
dynamic=$(readelf --wide --dynamic "$1")
needed=$(sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' <<<"$dynamic")
grep -q '^libcudart\.so' <<<"$needed" || fail "$1" "does not need the CUDA runtime: $needed"
! grep -q '^libcuda\.so' <<<"$needed" || fail "$1" "needs the driver's library"
grep -q 'RUNPATH.*\[\$ORIGIN:' <<<"$dynamic" || fail "$1" "does not look beside itself first"
! grep -qE 'RUNPATH.*(:\]|::)' <<<"$dynamic" || fail "$1" "looks in the current folder"
runpath=$(sed -n 's/.*(RUNPATH).*\[\(.*\)\]/\1/p' <<<"$dynamic")
for folder in "${@:2}"; do
  [[ :$runpath: == *":$folder:"* ]] || fail "$1" "does not look for libraries in $folder"
done
shown=$(readelf --wide --dyn-syms "$1" | awk '$7 != "UND" && $8 != "" && $7 ~ /^[0-9]+$/ {print $8}')
[[ $shown == seq1f1b_cuda_module ]] || fail "$1" "shows other symbols: $shown"
