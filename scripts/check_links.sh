#!/usr/bin/env bash
# Checks what the documents and comments say about files of this repository: that the target of every
# Markdown link is there, with the code that the link names ([`Step::run`](../core/train/step.cpp)) or
# the heading; and that every file is there that is named from the root, or as a CUDA source. Prints
# FILE:LINE: and the fault for each; exit 1 when there is one.
#
#   scripts/check_links.sh [ROOT]
set -euo pipefail
export LC_ALL=C

root=${1:-$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)}
cd "$root"
faults=0
fault() { echo "$*"; faults=$((faults + 1)); }

# Not what was built or run here, nor the trees that tests of scripts make up.
files() {  # NAME...
  local names=(-name "$1")
  shift
  for name; do names+=(-o -name "$name"); done
  find . \( -path ./build -o -path ./runs -o -path ./tests/scripts -o -name '.?*' \) -prune -o \
    -type f \( "${names[@]}" \) -printf '%P\n' | sort
}
mapfile -t documents < <(files '*.md')
[[ ${#documents[@]} -gt 0 ]] || { echo "check_links: no documents in $root" >&2; exit 2; }
mapfile -t all < <(files '*.md' '*.h' '*.inc' '*.cpp' '*.cu' '*.cmake' '*.txt' '*.sh' '*.py' '*.yaml')

# Headings as GitHub makes anchors of them.
anchors() {
  sed -nE 's/^#+ //p' "$1" | tr '[:upper:]' '[:lower:]' | sed -E 's/[^a-z0-9 _-]//g; s/ /-/g'
}

links=0
while IFS=: read -r file line link; do
  text=${link%%](*} target=${link##*](}
  text=${text#[} target=${target%)}
  [[ $target == *://* ]] && continue
  links=$((links + 1))
  anchor=${target#"${target%%#*}"} path=${target%%#*}
  path=${path:+$(dirname "$file")/$path}
  path=${path:-$file}
  if [[ ! -e $path ]]; then
    fault "$file:$line: no $target"
  elif [[ -n $anchor ]]; then
    grep -qx -- "${anchor#\#}" <(anchors "$path") || fault "$file:$line: no heading $anchor in $path"
  elif [[ $text =~ ^\`([A-Za-z_]+::)*([A-Za-z_]+)(\(\))?\`$ && -f $path ]]; then
    grep -qw -- "${BASH_REMATCH[2]}" "$path" || fault "$file:$line: no ${BASH_REMATCH[2]} in $path"
  fi
done < <(grep -noHE '\[[^]]*\]\([^) ]+\)' "${documents[@]}")

declare -A cuda_sources
while read -r path; do cuda_sources[${path##*/}]=1; done < <(files '*.cu')
# Quotes and dollars stand before examples and variables.
named='(^|[^A-Za-z0-9_./-])((apps|benchmarks|cmake|configs|core|docs|kernels|scripts|tests)/[A-Za-z0-9_./-]+\.[a-z]+)'
source='(^|[^A-Za-z0-9_./"$-])([a-z0-9_]+\.cu)'
while IFS=: read -r file line name; do
  [[ $name =~ $named || $name =~ $source ]]
  name=${BASH_REMATCH[2]}
  [[ -e $name || ${cuda_sources[$name]:-} ]] || fault "$file:$line: no file $name"
done < <(grep -noHE -- "($named|$source)(\$|[^A-Za-z0-9_*])" "${all[@]}")

[[ $faults == 0 ]] || exit 1
echo "check_links: $links links of ${#documents[@]} documents lead somewhere"
