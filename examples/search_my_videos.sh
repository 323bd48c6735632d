#!/usr/bin/env bash
# From a folder of videos to a page to search them, on this machine alone, in three commands at most.
#
#   bash examples/search_my_videos.sh DIR RUN    with a trained run, or frozen:CHECKPOINT
#   bash examples/search_my_videos.sh DIR        without one: a small model is trained on DIR's own captions first
#
# All videos of DIR are found, at any depth. The small model learns from a table DIR/captions.csv (video,caption), or,
# without one, from the .txt beside each video. It knows the words and the scenes of that folder, no more: with a run
# that has seen more, give it.
# Everything lands in search/ (or $WORK); the same again goes on where it stopped, and adds the videos that are new. The
# small model stays as it is: to train one on what is new as well, give another WORK.
# NO_PAGE=1 ends before the page. STEPS and SEGMENTS may be set too.
set -euo pipefail
[ -d "${1:-}" ] || { echo "usage: bash examples/search_my_videos.sh DIR [RUN]" >&2; exit 2; }
dir="$(cd "$1" && pwd)" work="$(mkdir -p "${WORK:-search}" && cd "${WORK:-search}" && pwd)" model="${2:-}"
case "$model" in "" | /* | *:*) ;; *) model="$PWD/$model" ;; esac
if [ -z "${NO_PAGE:-}" ]; then
  source "$(dirname "${BASH_SOURCE[0]}")/setup.sh" serve
else
  source "$(dirname "${BASH_SOURCE[0]}")/setup.sh" ""
fi

run() {
  printf '\n$ %s\n' "$(printf '%q ' "$@")"
  "$@"
}

page=(--serve)
[ -z "${NO_PAGE:-}" ] || page=()
if [ -z "$model" ]; then
  model="$work/model"
  if [ -d "$model" ]; then
    : # trained, or begun, on the shards that are there, whatever has come to the folder since
  elif [ -f "$dir/captions.csv" ]; then
    run vtr shard table "$dir/captions.csv" "$work/shards"
  else
    run vtr shard folder "$dir" "$work/shards" --max-skipped 0.5
  fi
  run vtr pretrain mac-tiny --shards "$work/shards" --out "$model" --steps "${STEPS:-400}" --batch-size 32
fi
run vtr embed "$model" --videos "$dir" --max-skipped 1 \
  --segments "${SEGMENTS:-4s/2s}" --out "$work/embeddings" "${page[@]}"
