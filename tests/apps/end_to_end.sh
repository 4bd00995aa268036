#!/usr/bin/env bash
# Whole runs of the real program under mpirun, as a user starts them. One case per call.
# Usage: end_to_end.sh PROGRAM SOURCE_DIR WORK_DIR CASE
set -uo pipefail
program=$1 source=$2 work=$3/$4 name=$4
. "$source/scripts/mpi_env.sh"
rm -rf "$work"
mkdir -p "$work"
cd "$work" || exit 1

fail() {
  echo "FAILED: $*"
  for file in out err; do [[ -s $file ]] && sed "s/^/  $file: /" "$file"; done
  exit 1
}
# run CODE COMMAND...: output to ./out and ./err; fails when the exit code is another one.
run() {
  local expected=$1 code=0
  shift
  "$@" >out 2>err || code=$?
  ((code == expected)) || fail "exit code $code instead of $expected: $*"
}
says() { grep -Eq -- "$1" out err || fail "nobody said: $1"; }
says_once() {
  local count
  count=$(cat out err | grep -Ec -- "$1")
  ((count == 1)) || fail "said $count times instead of once: $1"
}
train() { # CODE RANKS OVERRIDES...
  local expected=$1 ranks=$2
  shift 2
  run "$expected" $SEQ1F1B_MPIRUN -np "$ranks" "$program" train "$source/configs/tiny_cpu.yaml" \
    data.train="[text]" data.split="80,20,0" checkpoint.directory=run training.train_iters=4 \
    optimizer.lr_warmup_iters=1 parallel.pipeline_model_parallel_size="$ranks" \
    runtime.deadline_seconds=20 runtime.grace_seconds=0.5 "$@"
}
# process_of_rank RANK LAUNCHER
process_of_rank() {
  local process
  for process in $(pgrep -P "$2" -f "checkpoint.directory=run"); do
    tr '\0' '\n' 2>/dev/null <"/proc/$process/environ" | grep -qx "PMIX_RANK=$1" && echo "$process"
  done
}
# until_running LAUNCHER COMMAND...: returns when the command succeeds, or the launcher has ended
until_running() {
  local launcher=$1
  shift
  until "$@"; do
    kill -0 "$launcher" 2>/dev/null || return 0
    sleep 0.02
  done
}
prepare() {
  for i in $(seq 1 400); do echo "line $i: the quick brown fox jumps over the lazy dog, $((i * 7919 % 1009)) times"; done >text.txt
  run 0 "$program" prepare text.txt --output text --tokenizer bytes
}

prepare
case $name in
complete)
  train 0 4
  says '[0-9]\.[0-9]{3} bits per byte'
  for file in config.resolved.yaml run_info.json metrics.jsonl schedule.svg measured.svg logs/rank_00003.log \
    checkpoints/latest checkpoints/step_00000004/COMPLETE; do
    [[ -s run/$file ]] || fail "run/$file is missing or empty"
  done
  (($(grep -c '"loss"' run/metrics.jsonl) >= 4)) || fail "metrics.jsonl lacks steps"
  grep -q . err && fail "something was written to standard error"
  train 0 4
  says 'already complete'
  says '[0-9]\.[0-9]{3} bits per byte'
  run 0 "$program" sample run --prompt 'line 1' --tokens 20 --seed 3
  says '^line 1'
  cp out first
  run 0 "$program" sample run/checkpoints/step_00000004 --prompt 'line 1' --tokens 20 --seed 3
  cmp -s out first || fail "the same seed sampled another text"
  # A trial of speed leaves figures and no weights; "auto" says on what it computes, and why.
  unset SEQ1F1B_CUDA_MODULE
  export CUDA_VISIBLE_DEVICES=''
  train 0 1 checkpoint.directory=trial checkpoint.save_interval=-1 runtime.device=auto
  says 'checkpoint +none'
  says_once 'computes on the CPU: rank 0 can use no GPU'
  [[ -s trial/metrics.jsonl ]] || fail "a trial left no metrics"
  [[ ! -e trial/checkpoints/latest ]] || fail "a run with save_interval=-1 saved something"
  ;;
layouts)
  train 0 4 training.train_iters=2
  train 0 1 training.train_iters=4 schedule.name=1f1b schedule.segments=1
  says 'resumed from .*step_00000002'
  train 0 2 training.train_iters=6 schedule.name=terapipe schedule.segments=3 schedule.partition=even
  says 'resumed from .*step_00000004'
  says 'step 6: saved'
  run 0 "$program" doctor run
  (($(grep -c '^rank [01]: came to the end' out) == 2 && $(grep -c '^rank ' out) == 2)) ||
    fail "doctor does not show the ranks of the last start alone"
  says 'not shown, as earlier starts left them or they cannot be read: rank_00002, rank_00003$'
  # As many tokens, but another meaning of the last one.
  run 0 "$program" prepare text.txt --output other --tokenizer bytes --document-separator 'x'
  train 2 2 training.train_iters=8 data.train="[other]"
  says_once 'another tokenizer'
  # Nothing is damaged: it is the configuration that does not fit.
  train 2 2 training.train_iters=8 model.hidden_size=32
  says_once 'another model: model.hidden_size is 64'
  train 2 2 training.train_iters=8 training.seed=3
  says_once 'training.seed is 1234 in the checkpoint and 3 in the configuration'
  ;;
resume)
  # A rank killed in the middle; what follows must end as an undisturbed run does.
  train 0 2 checkpoint.directory=whole training.train_iters=30
  while :; do
    rm -rf run
    $SEQ1F1B_MPIRUN -np 2 "$program" train "$source/configs/tiny_cpu.yaml" data.train="[text]" \
      data.split="80,20,0" checkpoint.directory=run training.train_iters=30 optimizer.lr_warmup_iters=1 \
      parallel.pipeline_model_parallel_size=2 checkpoint.save_interval=2 >out 2>err &
    launcher=$!
    until_running $launcher test -s run/checkpoints/latest
    kill -KILL $(process_of_rank 1 $launcher) 2>kill.log
    wait $launcher || break # else it was faster than the kill: once more
  done
  run 0 "$program" doctor run
  says '^rank 1: still runs, or stopped without a word'
  train 0 2 training.train_iters=30
  says 'resumed from'
  says_once 'the last start here was lost: of its 2 ranks .*rank 1 (in|after) the .* \(step [0-9]+\).* stopped without a word'
  # What ended in good order has lost nobody.
  train 0 2 training.train_iters=30
  cat out err | grep -q 'was lost' && fail "a start that came to the end is called lost"
  for file in run/checkpoints/step_00000030/*.safetensors; do
    cmp -s "$file" "whole/checkpoints/step_00000030/${file##*/}" || fail "$file differs"
  done
  ;;
damaged)
  train 0 2
  file=run/checkpoints/step_00000004/layers.0001.safetensors
  printf 'X' | dd of="$file" bs=1 seek=$(($(stat -c %s "$file") - 5)) conv=notrunc status=none
  train 3 2 training.train_iters=6
  says_once 'layers.0001'
  for rank in 0 1; do
    grep -q 'error: .*layers.0001' run/logs/rank_0000$rank.log || fail "the log of rank $rank is silent"
  done
  truncate -s -100 "$file"
  train 3 2 training.train_iters=6
  says_once 'layers.0001'
  train 3 2 checkpoint.directory=text.txt
  says_once 'cannot make folder text.txt: Not a directory'
  truncate -s 100 text.bin
  train 3 2 checkpoint.resume=none
  [[ -s run/metrics.jsonl ]] || fail "a start that failed has emptied the metrics"
  says_once 'text\.(bin|idx)'
  ;;
deadline)
  # On a busy machine ranks may come late for a short deadline in other places, too: then a longer one.
  for deadline in 3 12 48; do
    rm -rf run
    $SEQ1F1B_MPIRUN -np 4 "$program" train "$source/configs/tiny_cpu.yaml" data.train="[text]" \
      data.split="80,20,0" checkpoint.directory=run training.train_iters=100000 \
      optimizer.lr_warmup_iters=1 parallel.pipeline_model_parallel_size=4 \
      runtime.deadline_seconds=$deadline runtime.grace_seconds=0.5 >out 2>err &
    launcher=$!
    until_running $launcher grep -qs '"step"' run/metrics.jsonl
    stopped=$(process_of_rank 2 $launcher)
    kill -STOP $stopped 2>kill.log
    code=0
    wait $launcher || code=$?
    kill -KILL $stopped 2>kill.log
    grep -Eq 'rank [013].*waited' err && grep -q '"step"' run/metrics.jsonl && break
  done
  ((code == 124)) || fail "exit code $code instead of 124"
  [[ $(cat run/logs/rank_0000[013].log | grep -c 'error: rank [013].*waited') -ge 1 ]] ||
    fail "no log says who waited"
  says 'rank [013].*(forward|backward) of micro-batch [0-9]+, segment [0-9]+.*pipeline rank|rank [013].*(reducing|reading)'
  run 0 "$program" doctor run --actions 2
  says 'micro-batch [0-9]+, segment [0-9]+: waits to (receive|send)'
  (($(grep -c '^rank ' out) == 4)) || fail "doctor does not show all ranks"
  says '^rank [013]: ended with an error, which is in its log'
  run 3 "$program" doctor .
  ;;
hanging_file) # a pipe that nobody writes into stands for a file system that does not answer
  mkfifo pipe.tokenizer.json
  for deadline in 2 8 32; do # as above
    train 124 2 data.tokenizer=pipe.tokenizer.json runtime.deadline_seconds=$deadline
    grep -q 'loading the tokenizer' err && break
  done
  says "rank [01] \\(.*\\): made no progress for $deadline s while loading the tokenizer"
  grep -q 'error: rank [01] .*loading the tokenizer' run/logs/rank_0000[01].log || fail "no log says it"
  ;;
precision) # bf16 with fp32 masters, taken over by fp32 in another layout, and the other way round
  half="runtime.device=reference runtime.compute_dtype=bf16 training.global_batch_size=2"
  train 0 2 $half training.train_iters=2
  says 'plain C\+\+ in bf16'
  tensors=run/checkpoints/step_00000002/layers.0001.safetensors
  grep -aq '"F32"' $tensors || fail "$tensors holds no F32"
  grep -aq '"BF16"' $tensors && fail "$tensors holds rounded weights"
  train 0 1 training.train_iters=3
  says 'resumed from .*step_00000002'
  train 0 4 $half training.train_iters=4
  says 'resumed from .*step_00000003'
  run 0 "$program" sample run --prompt 'line 1' --tokens 5
  says '^line 1'
  train 16 2 $half optimizer.lr=1e30 optimizer.min_lr=1e30 optimizer.clip_grad=0 \
    training.train_iters=20 checkpoint.directory=other
  says_once 'the loss is .* and the gradient norm'
  ;;
diverged)
  train 16 2 optimizer.lr=1e30 optimizer.min_lr=1e30 optimizer.clip_grad=0 training.train_iters=20
  says_once 'the loss is .* and the gradient norm'
  [[ -e run/checkpoints/latest ]] && fail "a diverged run was saved"
  ;;
data) # what is read is the checkpoint's, all of it, and told at the start
  train 0 1
  says_once '^data: training 320 documents, [0-9]+ tokens, [0-9]+ samples of 256 per epoch, 0\.[0-9]+ epochs by step 4; validation 80 documents'
  head -50 text.txt >more.txt
  run 0 "$program" prepare more.txt --output more --tokenizer bytes
  train 2 2 training.train_iters=6 data.train="[text,more]"
  says_once 'was trained on other samples: data.train: more \(50 documents of [0-9]+ tokens\) is new'
  train 2 1 training.train_iters=6 model.max_position_embeddings=256 training.seq_length=128
  says_once 'training.seq_length is 256 in the checkpoint and 128'
  train 0 2 training.train_iters=6 data.train="[text,more]" data.on_change=restart
  says 'the samples begin anew'
  grep -q '"event": *"data_change"' run/metrics.jsonl || fail "no event of the change"
  grep -q '"consumed_samples": *16,' run/checkpoints/step_00000006/index.json || fail "wrong samples"
  grep -q "\"consumed_tokens\": *$((48 * 256))," run/checkpoints/step_00000006/index.json || fail "wrong tokens"
  train 0 1 training.train_iters=7 data.train="[text,more]" # the new data is the checkpoint's now
  run 0 "$program" prepare text.txt --output pieces --tokenizer sentencepiece --vocab-size 300
  train 2 2 data.train="[text,pieces]" checkpoint.directory=other
  says_once 'are different tokenizers'
  cp text.bin copy.bin && cp text.idx copy.idx
  train 2 2 data.train="[text,copy]" checkpoint.directory=other
  says_once 'are the same files or copies'
  # Each rank in a folder of its own, one of them with other data.
  mkdir 0 1
  cp text.* 0 && cp more.bin 1/text.bin && cp more.idx 1/text.idx && cp more.tokenizer.json 1/text.tokenizer.json
  run 17 $SEQ1F1B_MPIRUN -np 2 sh -c "cd \$OMPI_COMM_WORLD_RANK && exec $program train $source/configs/tiny_cpu.yaml \
    data.train=text parallel.pipeline_model_parallel_size=2 checkpoint.directory=$PWD/other"
  says_once 'rank 1 sees other data than rank 0'
  ;;
data_changes) # under a run: what was trained until then is saved
  $SEQ1F1B_MPIRUN -np 2 "$program" train "$source/configs/tiny_cpu.yaml" data.train="[text]" \
    data.split="80,20,0" checkpoint.directory=run training.train_iters=100000 \
    optimizer.lr_warmup_iters=1 parallel.pipeline_model_parallel_size=2 >out 2>err &
  launcher=$!
  for _ in $(seq 400); do grep -q '"step"' run/metrics.jsonl 2>/dev/null && break; sleep 0.05; done
  tr '\000-\377' '\377' <text.bin >changed # in place: the run has the file open
  dd if=changed of=text.bin conv=notrunc status=none
  code=0
  wait $launcher || code=$?
  ((code == 3)) || fail "exit code $code instead of 3"
  says_once 'text.bin: at byte [0-9]+: token 65535 in a vocabulary of 257'
  last=$(tail -n 1 run/metrics.jsonl | grep -o '"step": *[0-9]*' | grep -o '[0-9]*$')
  [[ $(cat run/checkpoints/latest) == $(printf 'step_%08d' "$last") ]] || fail "step $last was not saved"
  run 0 "$program" sample run --tokens 3
  ;;
world)
  train 2 3 parallel.pipeline_model_parallel_size=2
  says_once 'error'
  ;;
*) fail "no such case" ;;
esac
echo "passed"
