# Sourced by the two README commands: makes or reuses .venv, and puts its programs on the PATH.
# "$1" names extras to install: "" or "dev".
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
python="${PYTHON:-python3}"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "vtr needs Python 3.11 or newer; set PYTHON=/path/to/python3.11" >&2; exit 1; }
[ -x .venv/bin/python ] || "$python" -m venv .venv || exit 1
# Installs again only when what is asked for has changed.
stamp=".venv/vtr-$(cat pyproject.toml | cksum | tr ' ' '-')-${1:-run}"
if [ ! -e "$stamp" ]; then
  echo "installing vtr into .venv (a few minutes the first time)" >&2
  .venv/bin/python -m pip install --quiet --upgrade pip || exit 1
  .venv/bin/python -m pip install --quiet --editable ".${1:+[$1]}" || exit 1
  touch "$stamp"
fi
export PATH="$PWD/.venv/bin:$PATH"
