#!/usr/bin/env bash
# Everything that needs a GPU, in one command: tests, sanitizer, parity with the CPU, a four-rank job,
# benchmarks beside PyTorch's; then a table of targets met and missed. Works in a built source tree and
# in a bundle (scripts/make_bundle.sh). Ends in nine minutes whatever happens: what matters most runs
# first, every step has a limit, and what no time is left for is said to be skipped.
# Usage: scripts/gpu_check.sh [--tiny] [--output DIR] [--only STEP[,STEP...]] [--seconds N]
#   --tiny     smallest sizes and no PyTorch: whether everything runs, also on the emulated GPU
#              (SEQ1F1B_CUDA_MODULE=BUILD/kernels/simt/libseq1f1b_simt.so)
#   --output   where report.md, figures.tsv and a log per step go (default: gpu_check in the current
#              folder), and everything together in logs.tar.gz. All are kept up to date, so that nothing is
#              lost when the check is killed
#   --only     some of: tests parity pipeline nccl kernels steps pytorch sanitizer
#   --seconds  time for all (default 540)
# Exit code 0 when every check passed; targets missed are shown and do not fail it.
set -uo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
SECONDS=0

usage() {
  sed -n '2,14s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
  exit 2
}
steps=(tests parity pipeline nccl kernels steps pytorch sanitizer)
tiny=0 output=$PWD/gpu_check only=$(IFS=,; echo "${steps[*]}") budget=540 arguments=$*
while (($#)); do
  case $1 in
    --tiny) tiny=1 ;;
    --output | --only | --seconds)
      (($# > 1)) || usage
      case $1 in
        --output) output=$2 ;;
        --only) only=$2 ;;
        --seconds) budget=$2 ;;
      esac
      shift
      ;;
    *) usage ;;
  esac
  shift
done
[[ $budget =~ ^[0-9]+$ ]] || usage
for name in ${only//,/ }; do
  [[ " ${steps[*]} " == *" $name "* ]] || { echo "gpu_check: no step $name; there are: ${steps[*]}" >&2; exit 2; }
done
mkdir -p "$output" && output=$(cd "$output" && pwd) || exit 1

if [[ -f $root/env.sh ]]; then  # a bundle
  . "$root/env.sh"
  bin=$root/bin
else
  bin=${SEQ1F1B_BUILD:-$root/build/release}
fi
. "$root/scripts/mpi_env.sh"
# Containers refuse copies between processes in ways of their own; messages are small here.
export OMPI_MCA_btl_vader_single_copy_mechanism=none
for program in seq1f1b cuda_kernels; do
  if [[ ! -x $bin/$program ]]; then
    echo "gpu_check: no $bin/$program; build first: scripts/build.sh release bundle" >&2
    exit 1
  fi
done

figures=$output/figures.tsv checks=$output/checks.tsv
for file in "$figures" "$checks" "$output/commands.txt"; do : >"$file"; done
((tiny)) && sizes=(--tiny) || sizes=()

# ---- running, timing, reporting --------------------------------------------------------------------
wanted() { [[ ,$only, == *,$1,* ]]; }
say() { # NAME RESULT NOTE: a line of the table of checks
  printf '%s\t%s\t%s\n' "$1" "$2" "$3" >>"$checks"
  printf '%-28s %-18s %s\n' "$1" "$2" "$3"
  report
  archive
}
skip() { say "$1" skipped "$2"; }
# check NAME SECONDS COMMAND...: runs it with a limit; its output goes to NAME.log. Fails when the command
# does, and when it had nothing to do.
check() {
  local name=$1 limit=$2 begin=$SECONDS left=$((budget - SECONDS)) code=0
  shift 2
  if ((left < 5)); then
    skip "$name" "no time left"
    return 1
  fi
  ((limit <= left)) || limit=$left
  printf '%s\t%s\n' "$name" "$*" >>"$output/commands.txt"
  # TERM for whoever can still write, KILL for what hangs in a driver.
  timeout -k 5 "$limit" "$@" >"$output/$name.log" 2>&1 </dev/null &
  running=$!
  wait "$running" || code=$?  # not in the foreground, where a signal to this script would wait, too
  if ((code == 0)) && grep -q '^skipped, no GPU' "$output/$name.log"; then
    skip "$name" "$(grep -m 1 '^skipped, no GPU' "$output/$name.log")"
    return 1
  elif ((code == 0)); then
    say "$name" passed "$((SECONDS - begin)) s"
  elif ((code == 124 || code == 137)) && ((SECONDS - begin >= limit)); then
    say "$name" "FAILED (killed)" "$name.log, after $limit s"
  else
    say "$name" "FAILED (code $code)" "$name.log, $((SECONDS - begin)) s"
  fi
  ((code == 0)) || { tail -5 "$output/$name.log" | sed 's/^/    /'; return 1; }
}
# measure NAME SECONDS COMMAND...: a check whose tab-separated lines are figures, those before a failure,
# too.
measure() {
  local code=0
  check "$@" || code=1
  [[ ! -f $output/$1.log ]] || grep -P '^[^\t ]+\t[-0-9.e+]+\t' "$output/$1.log" >>"$figures"
  report
  return $code
}
# The GPU's state after a failed access is lost to its process, and whatever that would have tested next:
# each test once more, in a process of its own.
apart() { # PROGRAM
  local name left=$((budget - SECONDS))
  name=$(basename "$1")
  ((left >= 10)) || { skip "$name, test by test" "no time left"; return; }
  # Half of what is left at most: speed is worth knowing, too.
  export apart_program=$1 apart_log=$output/$name.apart.log
  : >"$apart_log"
  timeout -k 5 20 "$1" --list-test-names-only 2>/dev/null | sed 's/[][,]/\\&/g' |
    timeout -k 5 $((left / 2 + 1)) xargs -d '\n' -P 4 -I'{}' bash -c '
      said=$(timeout -k 5 60 "$apart_program" "$1" 2>&1)
      code=$?
      ((code == 0)) && result=passed || result="FAILED (code $code)"
      { printf "%s\t%s\n" "$result" "$1"; ((code == 0)) || tail -40 <<<"$said" | sed "s/^/    /"; } >>"$apart_log"
    ' apart '{}'
  grep -P '^(passed|FAILED[^\t]*)\t' "$apart_log" | sort >"$output/$name.apart.tsv"
  say "$name, test by test" "$(grep -c ^passed "$output/$name.apart.tsv") passed" \
    "$(grep -c ^FAILED "$output/$name.apart.tsv") failed: $name.apart.tsv and .log"
}
report() {
  {
    echo "# GPU check"
    echo
    sed 's/^/    /' "$output/machine.txt" 2>/dev/null
    echo
    echo "| check | result | |"
    echo "|---|---|---|"
    awk -F'\t' '{ printf "| %s | %s | %s |\n", $1, $2, $3 }' "$checks"
    echo
    echo "| target | must | aim | measured | |"
    echo "|---|---|---|---|---|"
    ((tiny)) || awk -F'\t' '
      FILENAME == ARGV[1] { value[$1] = $2; next }
      /^#/ || !NF { next }
      { n = split($1, part, " / "); known = part[1] in value && (n == 1 || part[2] in value && value[part[2]] > 0)
        measured = !known ? "-" : sprintf("%.3g", n == 1 ? value[part[1]] : value[part[1]] / value[part[2]])
        verdict = !known ? "not measured" : measured + 0 >= $3 ? "aim met" : measured + 0 >= $2 ? "met" : "MISSED"
        printf "| %s | %s | %s | %s | %s |\n", $4, $2, $3, measured, verdict }
    ' "$figures" "$root/benchmarks/targets.tsv"
    echo
    echo "| figure | value | unit |"
    echo "|---|---|---|"
    awk -F'\t' '{ printf "| %s | %s | %s |\n", $1, $2, $3 }' "$figures"
    echo
    echo "Commands, in the order in which they ran:"
    echo
    # Not longer than a line of a page: the shapes stand at the end of a name or command.
    sed "s|$bin/||g; s|$root/||g; s|${work:-/nowhere}|WORK|g; s/^\([^\t]*\)\t/    \1: /" "$output/commands.txt"
  } >"$output/report.md.part" && mv "$output/report.md.part" "$output/report.md"
}
# As far as it has got: whoever kills the check without asking gets the last one.
archive() {
  (cd "$output" && shopt -s nullglob && tar -czf logs.tar.gz.part ./*.log ./*.txt ./*.tsv ./*.md ./*.yaml ./*.jsonl
    mv logs.tar.gz.part logs.tar.gz) 2>/dev/null  # a log that grows meanwhile is worth a warning to nobody
}
finish() {
  rm -rf "$work"
  report
  archive
}
work=$(mktemp -d)
trap finish EXIT
running=
trap 'kill $running 2>/dev/null; exit 143' TERM INT HUP

# ---- the machine -----------------------------------------------------------------------------------
emulated=${SEQ1F1B_CUDA_MODULE:-}
{
  echo "date      $(date -u +%Y-%m-%dT%H:%MZ)"
  echo "command   scripts/gpu_check.sh${arguments:+ $arguments}${emulated:+   with SEQ1F1B_CUDA_MODULE=$emulated}"
  echo "seq1f1b   $("$bin/seq1f1b" --version 2>&1 | head -1)"
  echo "GPU       $(nvidia-smi --query-gpu=name,memory.total,driver_version,clocks.max.sm,power.limit --format=csv,noheader 2>/dev/null ||
    echo "nvidia-smi finds none")"
  echo "CPU       $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1), $(nproc) cores"
} | tee "$output/machine.txt"
# Starts the module, finds the GPU, names the libraries: a second, or many where hundreds of megabytes of
# libraries are read for the first time.
if ! check gpu 150 "$bin/cuda_kernels" --device; then
  {
    echo; ldd "$bin/libseq1f1b_cuda.so"
    echo; nvidia-smi
    echo; echo "LD_LIBRARY_PATH=${LD_LIBRARY_PATH:-}"; env | grep -E '^(CUDA|NVIDIA)_'
  } >>"$output/gpu.log" 2>&1
  for name in ${only//,/ }; do skip "$name" "no GPU"; done
  exit 1
fi
sed -n 's/^\(device\|libraries\)\t/\1\t/p' "$output/gpu.log" | awk -F'\t' '{ printf "%-9s %s\n", $1, $2 }' | tee -a "$output/machine.txt"

# ---- data and configurations of the jobs -----------------------------------------------------------
for _ in 1 2 3 4; do cat "$root/README.md" "$root"/docs/*.md; done >"$work/text.txt"
if ! check prepare 60 "$bin/seq1f1b" prepare "$work/text.txt" --output "$work/text"; then
  for name in parity pipeline nccl steps; do  # the others need no data
    if wanted "$name"; then skip "$name" "no data"; fi
    only=$(tr ',' '\n' <<<"$only" | grep -vx "$name" | paste -sd,)
  done
fi
# random_tokens NAME DTYPE: one document of Megatron's format (core/data/token_index.h). uint8 (code 1):
# 0 to 255; int16 (code 3): 16384 words below 32768. As evenly spread as PyTorch's in its baseline.
little_endian() { # VALUE BYTES
  local value=$1 i
  for ((i = 0; i < $2; i++, value >>= 8)); do printf "\\x$(printf %02x $((value & 255)))"; done
}
random_tokens() {
  local code=1 width=1 count=$((1 << (tiny ? 14 : 21)))
  [[ $2 == uint8 ]] || code=3 width=2
  head -c $((count * width)) /dev/urandom >"$work/$1.random"
  if [[ $2 == uint8 ]]; then mv "$work/$1.random" "$work/$1.bin"; else
    LC_ALL=C tr '\200-\377' '\000-\177' <"$work/$1.random" >"$work/$1.bin"
  fi
  {
    printf 'MMIDIDX\0\0'
    little_endian 1 8; little_endian $code 1; little_endian 1 8; little_endian 2 8
    little_endian $count 4; little_endian 0 8; little_endian 0 8; little_endian 1 8
  } >"$work/$1.idx"
}
random_tokens words int16
random_tokens bytes uint8
small=(model.num_layers=4 model.num_attention_heads=2 model.vocab_size=512 schedule.segments=4
  schedule.partition=even schedule.alignment=16 training.eval_iters=1 optimizer.lr_warmup_iters=2)
if ((tiny)); then
  small+=(model.hidden_size=32 training.seq_length=64 training.global_batch_size=2 training.train_iters=3)
else
  small+=(model.hidden_size=128 training.seq_length=256 training.global_batch_size=4
    training.train_iters=20)
fi
# A hang ends by itself, in words, before its step's limit ends it without.
cat >"$work/small.yaml" <<YAML
data: {train: [$work/text]}
checkpoint: {directory: $work/run, resume: none, save_interval: -1}
runtime: {deadline_seconds: 40}
YAML
# job NAME RANKS KEY=VALUE...: trains; the losses stand in $work/NAME/metrics.jsonl.
job() {
  local name=$1 ranks=$2
  shift 2
  $SEQ1F1B_MPIRUN -np "$ranks" "$bin/seq1f1b" train "$work/small.yaml" \
    "parallel.pipeline_model_parallel_size=$ranks" "checkpoint.directory=$work/$name" "$@"
}
losses() { grep -oP '^\{"step": ?\d+.*?"loss": ?\K[-0-9.e+]+' "$work/$1/metrics.jsonl"; }
# same_losses A B BOUND: every step's losses of two jobs within BOUND.
same_losses() {
  paste <(losses "$1") <(losses "$2") | awk -v bound="$3" -v a="$1" -v b="$2" '
    NF != 2 { print a, "and", b, "have different steps"; exit 1 }
    { d = $1 - $2; if (d < 0) d = -d; if (d > worst) worst = d }
    END { if (!NR) { print "no steps"; exit 1 }
          printf "%s and %s: %d steps, largest difference of losses %.3g (bound %g)\n", a, b, NR, worst, bound
          exit worst > bound }'
}
parity() {
  job cpu 1 "${small[@]}" runtime.device=cpu &&
    job cuda_fp32 1 "${small[@]}" runtime.device=cuda runtime.compute_dtype=fp32 &&
    job cuda_bf16 1 "${small[@]}" runtime.device=cuda runtime.compute_dtype=bf16 &&
    same_losses cpu cuda_fp32 1e-4 && same_losses cpu cuda_bf16 1e-2
}
pipeline() {
  job one 1 "${small[@]}" runtime.device=cuda && job four 4 "${small[@]}" runtime.device=cuda &&
    same_losses one four 0
}
# A GPU per rank, so that messages go from one to the other. Deeper than the others: up to eight ranks.
nccl() { # RANKS
  local deep=("${small[@]}" model.num_layers=8 runtime.device=cuda)
  job deep 1 "${deep[@]}" && job deep_nccl "$1" "${deep[@]}" && same_losses deep deep_nccl 0 &&
    grep '"communication": *"NCCL"' "$work/deep_nccl/run_info.json"
}
export -f job parity pipeline nccl same_losses losses
export work bin SEQ1F1B_MPIRUN
small_text=$(printf '%q ' "${small[@]}")

# step NAME mfu|rate KEY=VALUE...: median of the later steps of a one-GPU job, as tokens/s, or as a share
# of 989 TFLOP/s (dense bf16 of H100 SXM and H200) in METHOD's FLOPs. A job that was killed counts with the
# steps it had done.
step() {
  local name=$1 kind=$2 field=tokens_per_second code=0
  shift 2
  check "$name" 75 bash -c 'job "$@"' job "$name" 1 data.split=100,0,0 optimizer.lr_warmup_iters=2 \
    training.train_iters=12 runtime.device=cuda "$@" || code=1
  [[ $kind == mfu ]] && field=model_tflops
  cp "$work/$name/metrics.jsonl" "$output/$name.metrics.jsonl" 2>/dev/null || return 1
  cp "$work/$name/config.resolved.yaml" "$output/$name.yaml" 2>/dev/null
  cat "$work/$name"/logs/*.log >>"$output/$name.log"
  grep -oP "^\{\"step\": ?\d+.*?\"$field\": ?\K[-0-9.e+]+" "$output/$name.metrics.jsonl" |
    tail -n +4 | sort -g | awk -v name="$name" -v kind="$kind" '
      { v[NR] = $1 } END { if (!NR) exit
        m = v[int((NR + 1) / 2)]
        if (kind == "mfu") printf "step.%s.mfu\t%.4f\t\n", name, m / 989
        else printf "step.%s\t%.5g\ttokens/s\n", name, m }' | tee -a "$figures"
  report
  return $code
}

# ---- the steps, what matters most first -------------------------------------------------------------
# Seconds on one H200 are estimates, none measured yet, and add up to about 490.
if wanted tests; then
  # First what all kernels rest on: where it fails, this print says which instruction.
  if [[ -n $emulated ]]; then
    for name in fragments queues; do
      skip $name "the probe asks the GPU itself, not the module named by SEQ1F1B_CUDA_MODULE"
    done
  elif [[ -x $bin/cuda_probe ]]; then  # 2 and 2
    check fragments 30 bash -c "'$bin/cuda_probe' >'$output/fragments.txt' && diff '$root/tests/kernels/cuda/fragments.txt' '$output/fragments.txt'"
    check queues 40 "$bin/cuda_queues"
  fi
  found=0
  for name in kernels cudnn; do  # 40 and 20: mostly the reference on the CPU
    program=$bin/test_${name}_gpu
    [[ -x $program ]] || continue
    found=1
    check "$(basename "$program")" 120 "$program" ||
      { tail -1 "$checks" | grep -q FAILED && apart "$program"; }
  done
  ((found)) || skip tests "no test_kernels_gpu in $bin"
fi
# 15 and 15: contexts are made three and five times, 20 steps take a second.
if wanted parity && check parity 90 bash -c "small=($small_text); parity"; then
  # From outside: whether the device's free memory was the same after the first step and at the end.
  check steady 5 grep "at the end: .* hold what they held after the first step$" "$work/cuda_bf16/logs/rank_00000.log"
fi
if wanted pipeline; then check pipeline 90 bash -c "small=($small_text); pipeline"; fi
gpus=$(sed -n 's/^devices\t//p' "$output/gpu.log")
if wanted nccl; then
  if ((${gpus:-1} < 2)); then skip nccl "it wants a GPU per rank, and there is one"; else
    NCCL_DEBUG=WARN check nccl 120 bash -c "small=($small_text); nccl $((gpus < 8 ? gpus : 8))"  # 25
  fi
fi
if wanted kernels; then
  # A process each, so that a fault of one family leaves the figures of the others. A figure takes 0.2 to
  # 0.3 with its operands: 20 memory, 36 products, 26 attention, and 13 fast.
  for group in attention memory products; do  # 10, 10, 15
    measure "kernels_$group" 45 "$bin/cuda_kernels" "${sizes[@]}" "$group"
  done
  measure kernels_fast 45 "$bin/cuda_kernels" --fast "${sizes[@]}" attention  # 8
  if [[ -n $emulated ]]; then
    skip kernels_cudnn "the emulated device has no cuDNN"
  elif grep -q 'built without cuDNN' "$output/gpu.log"; then
    skip kernels_cudnn "built without cuDNN's frontend headers"
  else
    measure kernels_cudnn 60 "$bin/cuda_kernels" --cudnn "${sizes[@]}" attention  # 25: plans are built
  fi
fi
if wanted steps; then
  if ((tiny)); then
    step gpt_tiny rate "data.train=[$work/words]" model.vocab_size=32768 model.num_layers=1 model.hidden_size=16 \
      model.num_attention_heads=1 training.seq_length=16 training.global_batch_size=1 training.train_iters=4
  else
    # 25 each at half of the chip's speed: 5 to start, 7 for 1.7 billion weights, 12 steps of a second.
    stage=("data.train=[$work/bytes]" model.vocab_size=1024 model.num_layers=8 model.hidden_size=4096
      model.num_attention_heads=32 training.seq_length=16384 training.micro_batch_size=1
      training.global_batch_size=4 schedule.segments=4 schedule.alignment=128)
    step 7b_stage_deterministic mfu "${stage[@]}"
    step 7b_stage_fast mfu "${stage[@]}" runtime.deterministic=false
    step 7b_stage_auto mfu "${stage[@]}" runtime.attention=auto  # its log says whose attention
    step gpt_124m rate "data.train=[$work/words]" model.vocab_size=50304 model.num_layers=12 model.hidden_size=768 \
      model.num_attention_heads=12 training.seq_length=1024 training.micro_batch_size=16 \
      training.global_batch_size=32 schedule.segments=1  # 10
    step gpt_1.3b rate "data.train=[$work/words]" model.vocab_size=50304 model.num_layers=24 model.hidden_size=2048 \
      model.num_attention_heads=16 training.seq_length=2048 training.micro_batch_size=4 \
      training.global_batch_size=8 schedule.segments=1  # 20
  fi
fi
if wanted pytorch && ((!tiny)); then
  if timeout 60 python3 -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null; then
    measure pytorch_124m 90 python3 "$root/benchmarks/pytorch_baseline.py" gpt  # 50, most of it compiling
    measure pytorch_1.3b 110 python3 "$root/benchmarks/pytorch_baseline.py" gpt --hidden 2048 \
      --layers 24 --heads 16 --tokens 2048 --micro-batch 4 --micro-batches 2  # 80, likewise
    measure pytorch_attention 45 python3 "$root/benchmarks/pytorch_baseline.py" attention  # 15
  else
    skip pytorch "not installed, or it sees no GPU"
  fi
fi
if wanted sanitizer; then
  # Last, for nobody knows how many times slower: 60 each.
  if [[ -n $emulated ]]; then
    skip sanitizer "for GPUs; the emulator's own runs of the tests have address and thread sanitizers"
  elif ! command -v compute-sanitizer >/dev/null; then
    skip sanitizer "no compute-sanitizer here"
  elif ! timeout -k 5 60 compute-sanitizer --error-exitcode 9 "$bin/cuda_kernels" --device >"$output/sanitizer.log" 2>&1; then
    # Some containers and virtual machines refuse it the device.
    skip sanitizer "it cannot use this GPU: $(grep -m 1 -i 'error\|not supported' "$output/sanitizer.log" | cut -c1-100)"
  else
    check memcheck 90 compute-sanitizer --tool memcheck --error-exitcode 9 "$bin/cuda_kernels" --tiny
    check racecheck 90 compute-sanitizer --tool racecheck --error-exitcode 9 "$bin/cuda_kernels" --tiny
  fi
fi

report
((tiny)) || sed -n '/^| target/,/^| figure/p' "$output/report.md" | sed '$d'
echo "report: $output/report.md ($SECONDS s)"
! grep -q FAILED "$checks"
