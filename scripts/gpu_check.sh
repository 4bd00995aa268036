#!/usr/bin/env bash
# Everything that needs a GPU, in one command: tests, sanitizer, parity with the CPU, a four-rank job,
# benchmarks beside PyTorch's; then a table of targets met and missed. Works in a built source tree and
# in a bundle (scripts/make_bundle.sh). Under nine minutes on one H200.
# Usage: scripts/gpu_check.sh [--tiny] [--output DIR] [--only STEP[,STEP...]]
#   --tiny     smallest sizes and no PyTorch: whether everything runs, also on the emulated GPU
#              (SEQ1F1B_CUDA_MODULE=BUILD/tests/simt/libseq1f1b_simt.so)
#   --output   where logs, figures.tsv and report.md go (default: gpu_check in the current folder)
#   --only     some of: tests sanitizer parity pipeline kernels steps pytorch
# Exit code 0 when every check passed; targets missed are shown and do not fail it.
set -uo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
started=$SECONDS

tiny=0 output=$PWD/gpu_check only=tests,sanitizer,parity,pipeline,kernels,steps,pytorch
while (($#)); do
  case $1 in
    --tiny) tiny=1 ;;
    --output) output=$2; shift ;;
    --only) only=$2; shift ;;
    *) sed -n '2,12s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
  esac
  shift
done
mkdir -p "$output" && output=$(cd "$output" && pwd) || exit 1

if [[ -f $root/env.sh ]]; then  # a bundle
  . "$root/env.sh"
  bin=$root/bin
else
  bin=${SEQ1F1B_BUILD:-$root/build/release}
fi
. "$root/scripts/mpi_env.sh"
for program in seq1f1b cuda_kernels; do
  if [[ ! -x $bin/$program ]]; then
    echo "gpu_check: no $bin/$program; build first: scripts/build.sh release all cuda_kernels" >&2
    exit 1
  fi
done

figures=$output/figures.tsv checks=$output/checks.tsv
: >"$figures" >"$checks"
((tiny)) && sizes=(--tiny) || sizes=()

wanted() { [[ ,$only, == *,$1,* ]]; }
# check NAME SECONDS COMMAND...: runs it with a limit; its output goes to NAME.log.
check() {
  local name=$1 limit=$2 begin=$SECONDS
  shift 2
  if timeout "$limit" "$@" >"$output/$name.log" 2>&1; then
    printf '%s\tpassed\t%d s\n' "$name" $((SECONDS - begin)) | tee -a "$checks"
  else
    printf '%s\tFAILED (code %d)\t%s\n' "$name" $? "$output/$name.log" | tee -a "$checks"
    tail -5 "$output/$name.log" | sed 's/^/    /'
    return 1
  fi
}
skip() { printf '%s\tskipped\t%s\n' "$1" "$2" | tee -a "$checks"; }
# measure NAME SECONDS COMMAND...: a check whose tab-separated lines are figures.
measure() {
  check "$@" || return 1
  grep -P '^[^\t ]+\t[-0-9.e+]+\t' "$output/$1.log" >>"$figures"
}

# ---- data and configurations of the small jobs ---------------------------------------------------
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for _ in 1 2 3 4; do cat "$root/README.md" "$root"/docs/*.md; done >"$work/text.txt"
"$bin/seq1f1b" prepare "$work/text.txt" --output "$work/text" >"$output/prepare.log" 2>&1 || { cat "$output/prepare.log" >&2; exit 1; }
small=(model.num_layers=4 model.num_attention_heads=2 model.vocab_size=512 schedule.segments=4
  schedule.partition=even schedule.alignment=16 training.eval_iters=1 optimizer.lr_warmup_iters=2)
if ((tiny)); then
  small+=(model.hidden_size=32 training.seq_length=64 training.global_batch_size=2 training.train_iters=3)
else
  small+=(model.hidden_size=128 training.seq_length=256 training.global_batch_size=4
    training.train_iters=20)
fi
cat >"$work/small.yaml" <<YAML
data: {train: [$work/text]}
checkpoint: {directory: $work/run}
YAML
# job NAME RANKS KEY=VALUE...: trains; the losses stand in $work/NAME/metrics.jsonl.
job() {
  local name=$1 ranks=$2
  shift 2
  $SEQ1F1B_MPIRUN -np "$ranks" "$bin/seq1f1b" train "$work/small.yaml" \
    "parallel.pipeline_model_parallel_size=$ranks" "checkpoint.directory=$work/$name" \
    checkpoint.resume=none "$@"
}
# same_losses A B BOUND: every step's losses of two jobs within BOUND.
same_losses() {
  paste <(losses "$1") <(losses "$2") | awk -v bound="$3" -v a="$1" -v b="$2" '
    NF != 2 { print a, "and", b, "have different steps"; exit 1 }
    { d = $1 - $2; if (d < 0) d = -d; if (d > worst) worst = d }
    END { if (!NR) { print "no steps"; exit 1 }
          printf "%s and %s: %d steps, largest difference of losses %.3g (bound %g)\n", a, b, NR, worst, bound
          exit worst > bound }'
}
losses() { grep -oP '^\{"step": ?\d+.*?"loss": ?\K[-0-9.e+]+' "$work/$1/metrics.jsonl"; }

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

# ---- the steps -----------------------------------------------------------------------------------
{
  echo "date      $(date -u +%Y-%m-%dT%H:%MZ)"
  echo "seq1f1b   $("$bin/seq1f1b" --version 2>/dev/null | head -1)"
  echo "GPU       $(nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader 2>/dev/null ||
    echo "none; module ${SEQ1F1B_CUDA_MODULE:-default}")"
  echo "compiler  $(nvcc --version 2>/dev/null | tail -2 | head -1 || echo "no nvcc here")"
} | tee "$output/machine.txt"

if wanted tests; then
  found=0
  for program in "$bin"/test_*_gpu; do
    [[ -x $program ]] || continue
    found=1
    check "$(basename "$program")" 150 "$program"
  done
  ((found)) || skip tests "no test_*_gpu in $bin"
  if [[ -n ${SEQ1F1B_CUDA_MODULE:-} ]]; then
    skip fragments "the probe asks the GPU itself, not the module named by SEQ1F1B_CUDA_MODULE"
  elif [[ -x $bin/cuda_probe ]]; then
    check fragments 30 bash -c "'$bin/cuda_probe' >'$output/fragments.txt' && diff '$root/tests/kernels/cuda/fragments.txt' '$output/fragments.txt'"
  fi
fi
if wanted sanitizer; then
  if command -v compute-sanitizer >/dev/null && [[ -x $bin/test_kernels_gpu ]]; then
    check memcheck 120 compute-sanitizer --tool memcheck --error-exitcode 9 "$bin/cuda_kernels" --tiny
    check racecheck 120 compute-sanitizer --tool racecheck --error-exitcode 9 "$bin/cuda_kernels" --tiny
  else
    skip sanitizer "no compute-sanitizer here"
  fi
fi
export -f job parity pipeline same_losses losses
export work bin SEQ1F1B_MPIRUN
small_text=$(printf '%q ' "${small[@]}")
if wanted parity; then check parity 120 bash -c "small=($small_text); parity"; fi
if wanted pipeline; then check pipeline 90 bash -c "small=($small_text); pipeline"; fi
if wanted kernels; then
  measure kernels 120 "$bin/cuda_kernels" "${sizes[@]}"
  measure kernels_fast 60 "$bin/cuda_kernels" --fast "${sizes[@]}"
  if [[ $("$bin/cuda_kernels" --cudnn --tiny 2>&1) == *"built without it"* ]]; then
    skip kernels_cudnn "built without cuDNN's frontend headers"
  else
    measure kernels_cudnn 60 "$bin/cuda_kernels" --cudnn "${sizes[@]}"
  fi
fi

# step NAME MFU? KEY=VALUE...: median of the later steps of a one-GPU job, as tokens/s, or as a share of
# the chip's 989 TFLOP/s (dense bf16) in METHOD's FLOPs.
step() {
  local name=$1 kind=$2
  shift 2
  check "$name" 100 bash -c 'job "$@"' job "$name" 1 training.eval_iters=1 \
    optimizer.lr_warmup_iters=2 training.train_iters=12 runtime.device=cuda "$@" || return 1
  local field=tokens_per_second
  [[ $kind == mfu ]] && field=model_tflops
  grep -oP "^\{\"step\": ?\d+.*?\"$field\": ?\K[-0-9.e+]+" "$work/$name/metrics.jsonl" |
    tail -n +4 | sort -g | awk -v name="$name" -v kind="$kind" '
      { v[NR] = $1 } END { m = v[int((NR + 1) / 2)]
        if (kind == "mfu") printf "step.%s.mfu\t%.4f\t\n", name, m / 989
        else printf "step.%s\t%.5g\ttokens/s\n", name, m }' | tee -a "$figures"
}
if wanted steps; then
  if ((tiny)); then
    step gpt_tiny rate model.vocab_size=512 model.num_layers=2 model.hidden_size=32 \
      model.num_attention_heads=2 training.seq_length=64 training.global_batch_size=2
  else
    step gpt_124m rate model.vocab_size=50304 model.num_layers=12 model.hidden_size=768 model.num_attention_heads=12 \
      training.seq_length=1024 training.micro_batch_size=16 training.global_batch_size=32 schedule.segments=1
    step gpt_1.3b rate model.vocab_size=50304 model.num_layers=24 model.hidden_size=2048 model.num_attention_heads=16 \
      training.seq_length=2048 training.micro_batch_size=4 training.global_batch_size=8 schedule.segments=1
    stage=(model.num_layers=8 model.hidden_size=4096 model.num_attention_heads=32 model.vocab_size=1024
      training.seq_length=16384 training.micro_batch_size=1 training.global_batch_size=4
      schedule.segments=4 schedule.alignment=128)
    step 7b_stage_deterministic mfu "${stage[@]}"
    step 7b_stage_fast mfu "${stage[@]}" runtime.deterministic=false
  fi
fi
if wanted pytorch && ((!tiny)); then
  if python3 -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null; then
    measure pytorch_attention 60 python3 "$root/benchmarks/pytorch_baseline.py" attention
    measure pytorch_124m 90 python3 "$root/benchmarks/pytorch_baseline.py" gpt
    measure pytorch_1.3b 120 python3 "$root/benchmarks/pytorch_baseline.py" gpt --hidden 2048 \
      --layers 24 --heads 16 --tokens 2048 --micro-batch 4 --micro-batches 2
  else
    skip pytorch "not installed, or it sees no GPU"
  fi
fi

# ---- the report ----------------------------------------------------------------------------------
{
  echo "# GPU check"
  echo
  sed 's/^/    /' "$output/machine.txt"
  echo "    command   scripts/gpu_check.sh$( ((tiny)) && echo ' --tiny')"
  echo
  echo "| check | result | |"
  echo "|---|---|---|"
  awk -F'\t' '{ n = split($3, path, "/"); printf "| %s | %s | %s |\n", $1, $2, path[n] }' "$checks"
  echo
  echo "| target | must | aim | measured | |"
  echo "|---|---|---|---|---|"
  awk -F'\t' '
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
} >"$output/report.md"
sed -n '/^| check/,/^| figure/p' "$output/report.md" | sed '$d'
echo "report: $output/report.md ($((SECONDS - started)) s)"
! grep -q FAILED "$checks"
