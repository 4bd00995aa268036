#!/usr/bin/env bash
# runtime.attention: auto in whole training jobs of two ranks on the emulated device, with a library of
# attention that is as fast or as slow as the environment says: chosen, written down, saved, and reused
# on resume, bit for bit, where measuring would now choose otherwise.
# Usage: attention_auto_test.sh PROGRAM MODULE SOURCE_DIR WORK_DIR
set -euo pipefail
program=$1 module=$2 source=$3 work=$4
. "$source/scripts/mpi_env.sh"
rm -rf "$work"
mkdir -p "$work"
cd "$work"
for i in $(seq 1 100); do echo "line $i: the quick brown fox, $((i * 7919 % 1009)) times"; done >text.txt
"$program" prepare text.txt --output text --tokenizer bytes >prepare.log
export SEQ1F1B_CUDA_MODULE=$module

# train LIBRARY STEPS FOLDER LOG OVERRIDES...: LIBRARY is fast, slow or none.
train() {
  local library=$1 steps=$2 folder=$3 log=$4 wait=()
  shift 4
  [[ $library == none ]] || wait=(SEQ1F1B_SIMT_CUDNN=$([[ $library == slow ]] && echo 0.3 || echo 0))
  if ! env "${wait[@]}" $SEQ1F1B_MPIRUN -np 2 "$program" train "$source/configs/tiny_cpu.yaml" \
    data.train="[text]" data.split="100,0,0" checkpoint.directory="$folder" \
    parallel.pipeline_model_parallel_size=2 model.num_layers=2 training.seq_length=48 \
    training.global_batch_size=2 schedule.segments=2 schedule.alignment=8 training.train_iters="$steps" \
    optimizer.lr_decay_iters=4 optimizer.lr_warmup_iters=1 runtime.device=cuda "$@" >"$log" 2>&1; then
    cat "$log" >&2
    exit 1
  fi
}
fail() { echo "$1" >&2; exit 1; }
# chosen FOLDER: the kernels of both lengths
chosen() { sed -nE 's/.*"kernels": "(.*)",?/\1/p' "$1/attention.json" | paste -sd ' '; }
same() { # checkpoints: every tensor file
  local file
  for file in "$1"/*.safetensors; do cmp -s "$file" "$2/$(basename "$file")" || return 1; done
}
step() { printf '%s/checkpoints/step_%08d' "$1" "$2"; }

# Chosen by time, and other bits than our own kernels'.
train fast 4 whole whole.log runtime.attention=auto
[[ $(chosen whole) == "cudnn cudnn" ]] || fail "fast library: $(cat whole/attention.json)"
grep -q '"own_seconds": [0-9]' whole/attention.json || fail "no times"
grep -q "attention by cuDNN for 2 of 2 lengths; a layer" whole.log || fail "nothing said of the choice"
train fast 4 own own.log runtime.attention=own
[[ ! -e own/attention.json ]] || fail "a choice where there was none"
if same "$(step whole 4)" "$(step own 4)"; then fail "both kinds of kernels give the same bits"; fi
train none 4 none none.log runtime.attention=auto
[[ $(chosen none) == "own own" ]] || fail "no library: $(cat none/attention.json)"
grep -q "cuDNN for 0 of 2 lengths; rank 0: attention by cuDNN: the emulated device has none" none.log ||
  fail "the missing library is not named"
same "$(step none 4)" "$(step own 4)" || fail "auto without a library is not our own kernels"

# Interrupted, and resumed where the library is slow: the same choice, the same bits.
train fast 2 parts first.log runtime.attention=auto
cp parts/attention.json before.json
train slow 4 parts second.log runtime.attention=auto
cmp before.json parts/attention.json || fail "the resumed run chose anew"
grep -q "attention as the run chose it" second.log || fail "the reuse is not said"
grep -q '"kernels":"cudnn"\|"kernels": "cudnn"' "$(step parts 4)/index.json" || fail "not in the checkpoint"
same "$(step whole 4)" "$(step parts 4)" || fail "a resumed run gives other bits"
train slow 1 slow slow.log runtime.attention=auto
[[ $(chosen slow) == "own own" ]] || fail "slow library: $(cat slow/attention.json)"

# A length that the library refuses; a checkpoint without a choice; own on resume forgets it.
SEQ1F1B_SIMT_CUDNN_MOST_KEYS=40 train fast 1 mixed mixed.log runtime.attention=auto
[[ $(chosen mixed) == "cudnn own" ]] || fail "refused length: $(cat mixed/attention.json)"
train fast 5 own own_auto.log runtime.attention=auto
grep -q "attention is chosen now: the checkpoint holds no choice" own_auto.log || fail "not said"
[[ $(chosen own) == "cudnn cudnn" ]] || fail "not chosen on resume"
train fast 6 own own_again.log runtime.attention=own
if grep -q '"attention":' "$(step own 6)/index.json"; then fail "a choice that is not used was saved"; fi
