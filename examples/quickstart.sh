#!/usr/bin/env bash
# The whole path on made-up data: shard, pretrain, finetune, eval, embed, search. No download but the packages.
# Everything lands in work/ (or $1), which this run makes anew. TRAIN and TEST are numbers of clips; STEPS of training.
set -euo pipefail
work="${1:-work}"
case "$work" in work | /*) ;; *) work="$PWD/$work" ;; esac
made=""
command -v vtr > /dev/null || { source "$(dirname "${BASH_SOURCE[0]}")/setup.sh" ""; made="$(dirname "$(command -v vtr)")"; }

# Prints a command as it could be typed, then runs it.
run() {
  local word line=""
  for word in "$@"; do
    case "$word" in *" "*) word="\"$word\"" ;; esac
    line+="$word "
  done
  printf '\n$ %s\n' "${line% }"
  "$@"
}

if [ -e "$work" ] && [ ! -e "$work/.vtr-quickstart" ]; then
  echo "$work is there and was not made by this script: give another folder, bash examples/quickstart.sh FOLDER" >&2
  exit 2
fi
rm -rf "$work" && mkdir -p "$work" && touch "$work/.vtr-quickstart"
begin=$(date +%s)

run vtr shard synthetic seed:0 "$work/train" --split train --limit "${TRAIN:-5000}"
run vtr shard synthetic seed:0 "$work/test" --split test --limit "${TEST:-500}"
run vtr pretrain mac-tiny --shards "$work/train" --out "$work/mac" ${STEPS:+--steps "$STEPS"}
run vtr finetune "$work/mac" --shards "$work/train" --out "$work/finetuned" ${STEPS:+--steps "$STEPS"}
run vtr eval "$work/finetuned" --shards "$work/test" --out "$work/eval.json"
run vtr embed "$work/finetuned" --shards "$work/test" --out "$work/embeddings"
run vtr search "$work/embeddings" "a red circle moves left while a yellow square gets smaller"

printf '\nall of it took %d s; look around in %s/\n' "$(($(date +%s) - begin))" "$work"
[ -z "$made" ] || printf 'vtr is in an environment of its own; to use it: source %s/activate\n' "${made#"$PWD/"}"
