#!/usr/bin/env bash
# cmake/Cuda.cmake refuses architectures that a rank could not compare its GPU with.
# Usage: cuda_architectures_test.sh CMAKE SOURCE_DIR
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat >"$folder/CMakeLists.txt" <<CMAKE
cmake_minimum_required(VERSION 3.24)
project(architectures LANGUAGES NONE)
set(SEQ1F1B_CUDA ON)
list(PREPEND CMAKE_MODULE_PATH $2/cmake)
# Nothing beyond the check of the names is wanted.
macro(find_package)
  message(FATAL_ERROR "names accepted")
endmacro()
include(Cuda)
CMAKE
expect() {  # CMAKE NAMES TEXT
  local said
  rm -rf "$folder/build"
  said=$("$1" -S "$folder" -B "$folder/build" -DSEQ1F1B_CUDA_ARCHITECTURES="$2" 2>&1) || true
  [[ $(tr -s ' \n' ' ' <<<"$said") == *"$3"* ]] || { echo "$2: expected $3, got: $said" >&2; exit 1; }
}
for names in "80-real;90a-real" "90a" "80;86-virtual;100f-real"; do expect "$1" "$names" "names accepted"; done
for names in native all-major "90a-real;75" "90a-real;all"; do expect "$1" "$names" "is not one of them"; done
