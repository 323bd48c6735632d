#!/usr/bin/env bash
# The tests, linters and type checks, on a fresh machine: makes or reuses .venv, needs no GPU and no network after that.
# Arguments go to pytest: bash tests/run.sh tests/data -k jpeg. Without any, tests of minutes are left out: -m slow
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source examples/setup.sh dev

if [ $# -eq 0 ]; then
  set -- -m "not slow"
  ruff check vtr tests examples
  ruff format --check vtr tests examples
  mypy
  lint-imports
fi
# Each worker takes one core; torch would otherwise start a thread per core in each of them.
OMP_NUM_THREADS=1 exec pytest -n "${VTR_TEST_WORKERS:-2}" "$@"
