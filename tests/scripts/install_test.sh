#!/usr/bin/env bash
# An installed program runs, and has the CUDA module of its build beside it.
# Usage: install_test.sh CMAKE BUILD_DIR BIN_DIR MODULE_FILE       MODULE_FILE empty: none was built
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$1" --install "$2" --prefix "$folder" >"$folder/log" || { cat "$folder/log"; exit 1; }
"$folder/$3/seq1f1b" --version
[[ -z $4 || -f $folder/$3/$4 ]] || { echo "no $4 beside the program"; exit 1; }
[[ -z $4 ]] || readelf --dynamic "$folder/$3/$4" | grep -q 'RUNPATH.*\[\$ORIGIN'
