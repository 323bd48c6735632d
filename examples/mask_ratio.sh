#!/usr/bin/env bash
# MAC's claim as a curve: the same clips, encoder and number of samples, with more and more of the patches hidden.
# What is found (R@1) and what it costs (multiplications, processor seconds) go into $WORK/mask_ratio.png and a table.
# Everything lands in work/mask_ratio (or $WORK); the same again goes on where it stopped. Fifteen short trainings, half an
# hour of one free CPU core; fewer clips, epochs, ratios or seeds make it quicker: EPOCHS=2 RATIOS="0.5 0.75" SEEDS="0".
set -euo pipefail
work="${WORK:-work/mask_ratio}"
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
source "$here/setup.sh" plot
python="$(dirname "$(command -v vtr)")/python"  # the one that has vtr
names=(contrastive)
for ratio in ${RATIOS:-0.5 0.6 0.75 0.9}; do
  names+=("mac-$ratio")
done
mkdir -p "$work"
# shellcheck disable=SC2086
"$python" "$here/compare.py" --work "$work" --only "${names[@]}" --picture "$work/mask_ratio.png" \
  --epochs "${EPOCHS:-6}" --seeds ${SEEDS:-0 1 2} --train "${TRAIN:-4000}" --test "${TEST:-500}" ${MORE:-} \
  | tee "$work/table.md"
