#!/usr/bin/env bash
# From a folder of videos to a page to search them, on this machine alone, in three commands at most.
#
#   bash examples/search_my_videos.sh DIR RUN    with a trained run, or frozen:CHECKPOINT
#   bash examples/search_my_videos.sh DIR        without one: a small model is trained on DIR's own captions first
#
# A table DIR/captions.csv (video,caption) says which videos there are and their captions; without one it is all videos
# of DIR, with the .txt beside each. A model trained on one small folder knows the words and the scenes of that folder,
# no more: with a run that has seen more, give it.
# Everything lands in search/ (or $WORK); the same again goes on where it stopped, and adds what is new.
# NO_PAGE=1 ends before the page. STEPS and SEGMENTS may be set too.
set -euo pipefail
[ -d "${1:-}" ] || { echo "usage: bash examples/search_my_videos.sh DIR [RUN]" >&2; exit 2; }
dir="$(cd "$1" && pwd)" work="$(mkdir -p "${WORK:-search}" && cd "${WORK:-search}" && pwd)" model="${2:-}"
case "$model" in "" | /* | *:*) ;; *) model="$PWD/$model" ;; esac
command -v vtr > /dev/null || source "$(dirname "${BASH_SOURCE[0]}")/setup.sh" serve

run() {
  printf '\n$ %s\n' "$(printf '%q ' "$@")"
  "$@"
}

if [ -z "${NO_PAGE:-}" ] && lacking="$(vtr env | grep '^\[serve\].* not installed')"; then
  echo "the page needs what is not there: $lacking" >&2
  echo "install that, or the extra: pip install '.[serve]' where vtr's source is. NO_PAGE=1 goes without the page" >&2
  exit 2
fi

from=(--shards "$work/shards") page=(--serve)
[ -z "${NO_PAGE:-}" ] || page=()
if [ -f "$dir/captions.csv" ]; then
  run vtr shard table "$dir/captions.csv" "$work/shards"
elif [ -z "$model" ]; then
  run vtr shard folder "$dir" "$work/shards" --max-skipped 0.5
else
  from=(--videos "$dir" --max-skipped 1)
fi
if [ -z "$model" ]; then
  model="$work/model"
  run vtr pretrain mac-tiny --shards "$work/shards" --out "$model" --steps "${STEPS:-400}" --batch-size 32
fi
run vtr embed "$model" "${from[@]}" --segments "${SEGMENTS:-4s/2s}" --out "$work/embeddings" "${page[@]}"
