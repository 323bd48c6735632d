# Sourced by the scripts of this folder and by tests/run.sh: makes or reuses .venv of the repository, and puts its programs
# on the PATH. "$1" names an extra to install, such as "dev"; for none it is "", since a file that is sourced without words
# sees those of the script. An environment that is active is used as it is where it has that extra; for "dev" it is not,
# for the tests are those of this folder's vtr. Run by itself, `bash examples/setup.sh serve`, it installs that extra.
has_vtr() {
  command -v vtr > /dev/null || return 1
  # Not grep -q, which would leave while there is more to read.
  [ -z "$1" ] || vtr env 2> /dev/null | grep "^\[$1\] *installed" > /dev/null
}
install_vtr() {
  local extra="$1" python="${PYTHON:-python3}" root stamp one
  root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)" || exit 1
  [ "$extra" = dev ] || ! has_vtr "$extra" || return 0
  case "$extra,$(command -v vtr)" in dev,* | *, | *,"$root/.venv/bin/vtr") ;;
    *) echo "the active environment lacks what the extra $extra needs: using $root/.venv" >&2 ;;
  esac
  export PATH="$root/.venv/bin:$PATH"
  # Installs again only when what is asked for has changed and nothing that is there holds it: "dev" has what all scripts
  # need, and every extra what is needed without one.
  stamp="$root/.venv/vtr-$(cksum < "$root/pyproject.toml" | tr ' ' '-')"
  for one in "$stamp"-*; do
    [ -e "$one" ] || continue
    case "$extra" in "" | "${one#"$stamp-"}") return 0 ;; esac
    [ "$one" != "$stamp-dev" ] || return 0
  done
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
    || { echo "vtr needs Python 3.11 or newer; set PYTHON=/path/to/python3.11" >&2; exit 1; }
  [ -x "$root/.venv/bin/python" ] || "$python" -m venv "$root/.venv" || exit 1
  python="$root/.venv/bin/python"
  echo "installing vtr into $root/.venv (a few minutes the first time)" >&2
  "$python" -m pip install --quiet --upgrade pip || exit 1
  # That an editable package shadows others of its name is known here.
  "$python" -W "ignore:Editable installation" -m pip install --quiet --editable "$root${extra:+[$extra]}" || exit 1
  touch "$stamp-${extra:-run}"
}
install_vtr "$1"
