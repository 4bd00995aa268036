#!/usr/bin/env bash
# From nothing to text: installs, builds, prepares a text, trains a small GPT on it with four ranks
# and Seq1F1B, and lets it write.
# Usage: scripts/quickstart.sh [TEXTFILE] [section.key=value ...]
#   TEXTFILE   any text; without one the King James Bible of Debian's package bible-kjv
#   overrides  of configs/quickstart.yaml, e.g. training.train_iters=50
# Everything it writes lies in runs/quickstart-NAME; SEQ1F1B_RUNS names another folder than runs. A
# second call goes on where the first stopped.
set -euo pipefail
caller=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."

text=
if (($# > 0)) && [[ $1 != *=* || ($1 == /* && -f $1) || -f $caller/$1 ]]; then
  text=$1
  [[ $text == /* ]] || text=$caller/$text
  shift
  [[ -f $text && -r $text ]] || { echo "quickstart: cannot read $text" >&2; exit 3; }
fi

scripts/setup.sh
scripts/build.sh release seq1f1b
. scripts/mpi_env.sh
program=build/release/seq1f1b

# The name of a run holds a checksum of its text: another text is another run.
if [[ -n $text ]]; then
  name=$(basename "$text" | tr -c 'A-Za-z0-9\n' _ | cut -c1-40)-$(cksum <"$text" | cut -d' ' -f1)
else
  name=kjv
fi
run=${SEQ1F1B_RUNS:-runs}/quickstart-$name
mkdir -p "$run"
if [[ -z $text ]]; then
  text=$run/kjv.txt
  if [[ ! -s $text ]]; then
    PATH=$PATH:/usr/games bible -f gen1:1-rev22:21 >"$text.part"
    mv "$text.part" "$text"
  fi
fi

# Its field "corpus" is written when all of the files are there.
if ! grep -qs '"corpus"' "$run/text.tokenizer.json"; then
  # A small text does not hold 2048 pieces worth learning; a tiny one is read byte by byte.
  bytes=$(wc -c <"$text")
  tokenizer=(sentencepiece --vocab-size 2048)
  ((bytes >= 1000000)) || tokenizer=(sentencepiece --vocab-size 1024)
  ((bytes >= 200000)) || tokenizer=(bytes)
  "$program" prepare "$text" --output "$run/text" --tokenizer "${tokenizer[@]}" \
    --line-endings lf
fi

set +e
$SEQ1F1B_MPIRUN -np 4 "$program" train configs/quickstart.yaml \
  "data.train=[$run/text]" "checkpoint.directory=$run" "$@"
code=$?
set -e
((code == 0)) || { echo "quickstart: training ended with exit code $code; see $run/logs" >&2; exit $code; }

echo
echo "What the model writes:"
"$program" sample "$run" --prompt "$(head -n 1 "$text" | cut -c1-24)" --tokens 120 --temperature 0.7 \
  --top-k 40 --seed 7
