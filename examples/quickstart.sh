#!/usr/bin/env bash
# The whole path on made-up data: shard, pretrain, finetune, eval, embed, search. No download but the packages.
# It makes train, test, mac, finetuned, eval.json and embeddings in work/ (or $1), anew each time; all else there stays.
# TRAIN and TEST are numbers of clips; STEPS of training.
set -euo pipefail
work="${1:-work}"
case "$work" in work | /*) ;; *) work="$PWD/$work" ;; esac
active="$(command -v vtr || true)"
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh" ""
made="$(dirname "$(command -v vtr)")"

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

mkdir -p "$work"
for name in train test mac finetuned eval.json embeddings; do
  if [ -e "$work/.vtr-quickstart" ]; then
    rm -rf "${work:?}/$name"
  elif [ -e "$work/$name" ]; then
    echo "$work/$name was not made by this script: give another folder, bash examples/quickstart.sh FOLDER" >&2
    exit 2
  fi
done
touch "$work/.vtr-quickstart"
begin=$(date +%s)

run vtr shard synthetic seed:0 "$work/train" --split train --limit "${TRAIN:-5000}"
run vtr shard synthetic seed:0 "$work/test" --split test --limit "${TEST:-500}"
run vtr pretrain mac-tiny --shards "$work/train" --out "$work/mac" ${STEPS:+--steps "$STEPS"}
run vtr finetune "$work/mac" --shards "$work/train" --out "$work/finetuned" ${STEPS:+--steps "$STEPS"}
run vtr eval "$work/finetuned" --shards "$work/test" --out "$work/eval.json"
run vtr embed "$work/finetuned" --shards "$work/test" --out "$work/embeddings"
run vtr search "$work/embeddings" "a red circle moves left while a yellow square gets smaller"

printf '\nall of it took %d s; look around in %s/\n' "$(($(date +%s) - begin))" "$work"
[ -n "$active" ] || printf 'vtr is in an environment of its own; to use it: source %s/activate\n' "${made#"$PWD/"}"
