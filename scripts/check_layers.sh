#!/usr/bin/env bash
# Checks what each folder includes against the layers of the house: dependencies point downwards only
# and the headers of large libraries stay in source files. Prints FILE:LINE: and the broken rule for
# each violation; exit 1 when there is one.
#
#   scripts/check_layers.sh [ROOT]
set -euo pipefail
export LC_ALL=C

root=${1:-$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)}
cd "$root"
folders=()
for folder in apps core kernels; do
  [[ -d $folder ]] && folders+=("$folder")
done
[[ ${#folders[@]} -gt 0 ]] || { echo "check_layers: no sources in $root" >&2; exit 2; }

# The table: a folder, then the folders whose headers it may include besides its own. "kernels" stands
# for kernels/*.h, the contracts; back ends are never included, they are linked or loaded.
# "kernels/cuda/doors" stands for the plain headers of the CUDA back end that other folders may include,
# "kernels/simt" is the emulator: it runs the back end's sources, and stands in for CUDA's own headers,
# in device_code alone.
table='
kernels              kernels/common
kernels/common       kernels
kernels/reference    kernels kernels/common
kernels/cpu          kernels kernels/common
kernels/cuda         kernels kernels/common kernels/cuda/doors kernels/cuda/device_code
kernels/cuda/device_code kernels kernels/common kernels/cuda kernels/cuda/doors kernels/simt
kernels/cuda/doors   kernels kernels/common
kernels/simt         kernels kernels/common kernels/reference kernels/cuda kernels/cuda/doors
kernels/simt         kernels/cuda/device_code
core/base            kernels/common
core/config          core/base core/schedule kernels/common
core/metrics         core/base core/config kernels/common
core/schedule        kernels/common
core/parameters      core/base kernels kernels/common
core/comm            core/base kernels kernels/common kernels/cuda/doors
core/data            core/base kernels/common
core/optimizer       core/config core/parameters kernels kernels/common
core/checkpoint      core/base core/parameters core/comm kernels kernels/common
core/model           core/config core/schedule core/parameters kernels kernels/common
core/simulate        core/schedule kernels/common
core/plan            core/base core/config core/schedule core/parameters core/comm core/optimizer
core/plan            core/model core/simulate kernels kernels/common kernels/cuda/doors
core/runtime         core/base core/config core/schedule core/parameters core/comm core/optimizer
core/runtime         core/model core/simulate core/plan kernels kernels/common kernels/cuda/doors
core/train           core/* kernels kernels/common kernels/cuda/doors
apps                 core/* kernels kernels/common kernels/cuda/doors
'

# Each costs a second or more of compilation wherever it is included: allowed in source files, and in
# headers that only source files of the same folder include.
heavy='yaml-cpp/ CLI/ nlohmann/json.hpp blis.h oneapi/ dnnl mpi.h sentencepiece xxhash.h'

find "${folders[@]}" \( -name '*.h' -o -name '*.inc' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh' \) -print | sort |
  TABLE=$table HEAVY=$heavy awk '
    # apps/main.cpp -> apps, core/comm/fabric.h -> core/comm, kernels/ops.h -> kernels
    function folder_of(path,   parts, count) {
      if (path ~ /^kernels\/cuda\/(backend|module|scratch)\.h$/) return "kernels/cuda/doors"
      if (path ~ /^kernels\/cuda\/device_code\//) return "kernels/cuda/device_code"
      count = split(path, parts, "/")
      return count >= 3 && parts[1] != "apps" ? parts[1] "/" parts[2] : parts[1]
    }
    function violation(rule) {
      print file ":" line ": " rule
      violations++
    }
    function check_own(target,   to) {
      to = folder_of(target)
      if (target !~ /^(apps|core|kernels)\//)
        violation("\"" target "\" is not named from the root of the repository")
      else if (to != from && !((from, to) in allowed) &&
               !(to ~ /^core\// && (from, "core/*") in allowed))
        violation(from " may not include " to " (" target ")")
    }
    function is_header(path) { return path ~ /\.(h|inc|cuh)$/ }
    function note_heavy(target,   i) {
      for (i = 1; i <= heavy_count; i++)
        if (index(target, heavy[i]) == 1) brings[file] = target
    }
    # Every use of a header that brings a heavy one, once all files have been read.
    function check_spread(   i, target) {
      for (i = 1; i <= uses; i++) {
        file = user[i]
        line = use_line[i]
        target = used[i]
        if (is_header(target) && target in brings &&
            (is_header(file) || folder_of(file) != folder_of(target)))
          violation(target " brings <" brings[target] ">: only source files of its folder may include it")
      }
    }
    BEGIN {
      rows = split(ENVIRON["TABLE"], row, "\n")
      for (i = 1; i <= rows; i++) {
        count = split(row[i], cell, " ")
        if (count > 0) known[cell[1]] = 1
        for (j = 2; j <= count; j++) allowed[cell[1], cell[j]] = 1
      }
      heavy_count = split(ENVIRON["HEAVY"], heavy, " ")
    }
    {
      file = $0
      from = folder_of(file)
      line = 0
      if (!(from in known)) {
        line = 1
        violation("no rule for the folder " from "; add it to the table of scripts/check_layers.sh")
      } else {
        while ((getline text < file) > 0) {
          line++
          if (text !~ /^[ \t]*#[ \t]*include[ \t]*["<]/) continue
          own = text ~ /^[^<"]*"/
          target = text
          sub(/^[^<"]*["<]/, "", target)
          sub(/[">].*$/, "", target)
          note_heavy(target)
          if (!own) continue
          check_own(target)
          user[++uses] = file
          use_line[uses] = line
          used[uses] = target
        }
      }
      close(file)
      files++
    }
    END {
      check_spread()
      if (violations) exit 1
      print "check_layers: " files " files keep to the layers"
    }'
