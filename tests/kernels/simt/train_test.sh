#!/usr/bin/env bash
# Whole training jobs on the emulated CUDA device: two ranks that share it, messages staged through host
# memory, passes replayed as graphs. In fp32 the losses are those of the CPU back end to every digit
# shown; in bf16, with the kernels of compute capability 9.0, close to them.
# Usage: train_test.sh PROGRAM MODULE SOURCE_DIR WORK_DIR
set -euo pipefail
program=$1 module=$2 source=$3 work=$4
. "$source/scripts/mpi_env.sh"
rm -rf "$work"
mkdir -p "$work"
cd "$work"
for i in $(seq 1 100); do echo "line $i: the quick brown fox, $((i * 7919 % 1009)) times"; done >text.txt
"$program" prepare text.txt --output text --tokenizer bytes >prepare.log

# losses NAME OVERRIDES...: of both steps, one a line
losses() {
  local name=$1
  shift
  if ! $SEQ1F1B_MPIRUN -np 2 "$program" train "$source/configs/tiny_cpu.yaml" data.train="[text]" \
    data.split="100,0,0" checkpoint.directory="$name" parallel.pipeline_model_parallel_size=2 \
    model.num_layers=2 training.seq_length=48 training.global_batch_size=2 schedule.segments=2 \
    schedule.alignment=8 training.train_iters=2 optimizer.lr_warmup_iters=1 logging.interval=1 \
    "$@" >"$name.log" 2>&1; then
    cat "$name.log" >&2
    exit 1
  fi
  sed -nE 's/.*\| loss ([0-9.]+) \|.*/\1/p' "$name.log"
}
export SEQ1F1B_CUDA_MODULE=$module
cpu=$(losses cpu runtime.device=cpu)
fp32=$(losses fp32 runtime.device=cuda runtime.compute_dtype=fp32)
bf16=$(SEQ1F1B_SIMT_ARCH=90 losses bf16 runtime.device=cuda runtime.compute_dtype=bf16)
grep -q "2 ranks on emulated device" fp32.log
grep -q "staged through host memory (ranks share a GPU)" fp32.log
grep -q "compute capability 9.0" bf16.log
[[ $(wc -l <<<"$cpu") == 2 && $cpu == "$fp32" ]] || { echo "CPU: $cpu, emulated CUDA: $fp32"; exit 1; }
paste <(echo "$cpu") <(echo "$bf16") | awk '
  { difference = $1 - $2; if (difference < 0) difference = -difference
    if (NF != 2 || difference > 0.01) { print "CPU " $1 ", emulated CUDA in bf16 " $2; wrong = 1 } }
  END { exit wrong }'
