#!/usr/bin/env bash
# Fails when a kernel on which the speed depends keeps registers in memory ("spills"), when ptxas lets
# its wgmma products wait for each other (messages C7510 and following), or when one is not where the
# list expects it. Reads what ptxas said when the module was compiled (*.o.ptxas), of the
# objects that BUILD/cuda_objects.txt lists where there is one: files of a build before lie about, too.
#
# Usage: scripts/check_spills.sh [BUILD] [LIST]     default: build/release kernels/cuda/hot_kernels.txt
#   LIST: lines of ARCHITECTURE PATTERN [BYTES [REGISTERS]]. Every kernel of sm_ARCHITECTURE whose mangled
#   name, in which its source file's is, matches the extended regular expression PATTERN may store at most
#   BYTES (0) of spills per thread, and has exactly REGISTERS where they are given; at least one must match.
set -euo pipefail
export LC_ALL=C

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=${1:-$root/build/release}
list=${2:-$root/kernels/cuda/hot_kernels.txt}

reports() {
  if [[ -f $build/cuda_objects.txt ]]; then
    grep '\.cu\.o$' "$build/cuda_objects.txt" | sed 's/$/.ptxas/' | tr '\n' '\0'
  else
    find "$build" -name '*.o.ptxas' -print0 | sort -z
  fi
}

# Lines of ARCHITECTURE, bytes stored by spills, registers, name; and of "serialized", 0, 0, name.
kernels() {
  reports | xargs -0 -r cat | awk '
    /Compiling entry function/ {
      split($0, quoted, "\047")
      name = quoted[2]
      architecture = quoted[4]
      sub(/^sm_/, "", architecture)
    }
    /wgmma.mma_async instructions are serialized/ {
      split($0, quoted, "\047")
      print "serialized", 0, 0, quoted[2]
    }
    /bytes spill stores/ { for (i = 3; i <= NF; i++) if ($i == "spill" && $(i + 1) ~ /^stores/) spills = $(i - 2) }
    /Used [0-9]+ registers/ {
      for (i = 1; i < NF; i++) if ($i == "Used") registers = $(i + 1)
      if (name != "") print architecture, spills, registers, name
      name = ""
    }'
}

report=$(kernels) || { echo "check_spills: build the CUDA module first" >&2; exit 2; }
[[ -n $report ]] || { echo "check_spills: no report of ptxas under $build; build the CUDA module first" >&2; exit 2; }
awk -v list="$list" '
  {
    architecture[NR] = $1; spills[NR] = $2; registers[NR] = $3
    $1 = $2 = $3 = ""
    sub(/^ +/, "")
    name[NR] = $0
    if (architecture[NR] == "serialized") serialized[$0] = 1
  }
  END {
    while ((getline line < list) > 0) {
      if (line ~ /^ *(#|$)/) continue
      split(line, cell, " ")
      allowed = cell[3] == "" ? 0 : cell[3] + 0
      found = 0
      for (i = 1; i <= NR; i++) {
        if (architecture[i] != cell[1] || name[i] !~ cell[2]) continue
        found++
        if (cell[1] == "90a" && name[i] in serialized) {
          print "check_spills: products wait for each other (C75 message of ptxas): " name[i]
          bad++
        }
        if (spills[i] + 0 > allowed) {
          print "check_spills: sm_" cell[1] ": " spills[i] " bytes (" allowed " allowed), " \
                registers[i] " registers: " name[i]
          bad++
        }
        if (cell[4] != "" && registers[i] != cell[4]) {
          print "check_spills: sm_" cell[1] ": " registers[i] " registers, not " cell[4] ": " name[i]
          bad++
        }
      }
      if (!found) {
        print "check_spills: no kernel of sm_" cell[1] " matches " cell[2]
        bad++
      }
      checked += found
    }
    if (bad) exit 1
    if (!checked) { print "check_spills: " list " names no kernel"; exit 1 }
    print "check_spills: " checked " kernels keep to their registers"
  }' <<<"$report"
