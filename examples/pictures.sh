#!/usr/bin/env bash
# Pictures of the README, from what examples/quickstart.sh left in work/ (or $1): a contact sheet with its masks, and the
# search page. They go into docs/images (or $2). The page needs the extra serve and Chromium; CHROMIUM names it. The third
# picture, R@1 over seconds, is examples/compare.py's.
set -euo pipefail
work="${1:-work}" out="${2:-docs/images}" port="${PORT:-0}"
query="${QUERY:-a red circle moves left while a yellow square gets smaller}"
[ -d "$work/embeddings" ] || { echo "$work has no embeddings: run bash examples/quickstart.sh first" >&2; exit 2; }
chromium="${CHROMIUM:-$(command -v chromium || command -v chromium-browser || command -v google-chrome)}" \
  || { echo "no Chromium is installed here: set CHROMIUM=/path/to/it" >&2; exit 2; }
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh" serve
mkdir -p "$out"

vtr inspect "$work/test" --sheet "$out/masks.png" --samples 4 --mask-ratio 0.6 > /dev/null

vtr search "$work/embeddings" --serve --port "$port" > "$out/.address" &
server=$!
profile="$(mktemp -d)"
trap 'kill "$server" 2> /dev/null; rm -rf "$profile" "$out/.address"' EXIT
until grep -q http "$out/.address"; do
  kill -0 "$server" || exit 1
  sleep 0.2
done
# Time goes by for the page alone until it has nothing more to fetch, at most this many milliseconds.
"$chromium" --headless --no-sandbox --disable-gpu --hide-scrollbars --user-data-dir="$profile" \
  --window-size="${WINDOW:-1180,820}" --virtual-time-budget=8000 --screenshot="$out/search.png" \
  "$(grep -o 'http://[^ ]*' "$out/.address")#q=${query// /%20}" 2> /dev/null

# A palette makes them a third as large.
"$(dirname "$(command -v vtr)")/python" - "$out/masks.png" "$out/search.png" <<'PYTHON'
import sys

from PIL import Image

for path in sys.argv[1:]:
    Image.open(path).convert("RGB").quantize(128).save(path, optimize=True)
PYTHON
