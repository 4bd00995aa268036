#!/usr/bin/env bash
# check_spills.sh accepts kernels within their bounds, and names those beyond and those missing.
set -euo pipefail
source_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# report NAME ARCHITECTURE SPILLED_BYTES
report() {
  echo "ptxas info    : Compiling entry function '$1' for 'sm_$2'"
  echo "ptxas info    : Function properties for $1"
  echo "    8 bytes stack frame, $3 bytes spill stores, 24 bytes spill loads"
  echo "ptxas info    : Used 168 registers, used 1 barriers"
}
expect() {  # CODE TEXT LIST_LINE...
  local code=0 text
  printf '%s\n' "# a comment" "${@:3}" >"$folder/list"
  text=$("$source_root/scripts/check_spills.sh" "$folder" "$folder/list" 2>&1) || code=$?
  if [[ $code != "$1" || $text != $2 ]]; then
    echo "expected exit $1, $2; got exit $code, $text" >&2
    exit 1
  fi
}

expect 2 'check_spills: no report of ptxas under*' '80 first'
mkdir "$folder/sub"
{ report first_cu_forward 80 0; report first_cu_forward 90a 16; } >"$folder/sub/first.cu.o.ptxas"
report second_cu_backward 80 0 >"$folder/second.cu.o.ptxas"
expect 0 'check_spills: 2 kernels keep to their registers' '80 first_cu.*forward' '80 second'
expect 1 'check_spills: sm_90a: 16 bytes (0 allowed), 168 registers: first_cu_forward' '90a first'
expect 0 'check_spills: 1 kernels*' '90a first 16'
expect 0 'check_spills: 1 kernels*' '90a first 16 168'
expect 1 'check_spills: sm_90a: 168 registers, not 160: first_cu_forward' '90a first 16 160'
expect 1 'check_spills: no kernel of sm_90a matches second' '80 first' '90a second'
expect 1 '*names no kernel' '# nothing'
# ptxas says so of sm_90a only, and does not name it.
{
  echo "ptxas info    : (C7515) Potential Performance Loss: wgmma.mma_async instructions are serialized due" \
    "to non wgmma instructions defining accumulator registers of a wgmma in the function 'products_cu_one'"
  report products_cu_one 90a 0
  report products_cu_two 90a 0
  report products_cu_one 80 0
} >"$folder/products.cu.o.ptxas"
expect 1 'check_spills: products wait for each other*products_cu_one' '90a products'
expect 0 'check_spills: 2 kernels*' '90a products_cu_two' '80 products'
rm "$folder/products.cu.o.ptxas"
# A source that was moved leaves its old report behind.
report moved_cu_forward 80 64 >"$folder/moved.cu.o.ptxas"
expect 1 '*64 bytes*moved_cu_forward' '80 moved'
printf '%s\n' "$folder/sub/first.cu.o" "$folder/second.cu.o" "$folder/host.cpp.o" >"$folder/cuda_objects.txt"
expect 1 'check_spills: no kernel of sm_80 matches moved' '80 moved' '80 second'
expect 0 'check_spills: 2 kernels*' '80 first' '80 second'
echo "$folder/third.cu.o" >>"$folder/cuda_objects.txt"
expect 2 '*third.cu.o.ptxas*build the CUDA module first' '80 first'
