"""The set-up that the scripts share, with a Python that only notes what it is asked for."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Notes each call of pip; makes an environment whose python is itself and whose vtr notes its words.
PYTHON = """#!/bin/bash
[ "$1" != -W ] || shift 2
case "$1 $2" in
"-m venv") mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
"-m pip")
  echo "$@" >> "$NOTES"
  printf '#!/bin/bash\\necho "$PWD: $*" >> "%s"\\n' "$NOTES" > "${0%/*}/vtr" && chmod +x "${0%/*}/vtr" ;;
esac
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The scripts, in a folder whose name has a space."""
    root = tmp_path / "the clone"
    shutil.copytree(ROOT / "examples", root / "examples", ignore=shutil.ignore_patterns("__pycache__", "work"))
    shutil.copy(ROOT / "pyproject.toml", root)
    (tmp_path / "python").write_text(PYTHON)
    (tmp_path / "python").chmod(0o755)
    return root


def has_vtr(part: str) -> bool:
    return not part or (Path(part) / "vtr").exists()


def call(clone: Path, *words: str, **variables: str) -> tuple[str, list[str]]:
    """What a script printed, and what was noted, begun in another folder on a machine without vtr."""
    where = clone.parent / "elsewhere"
    where.mkdir(exist_ok=True)
    notes = clone.parent / "notes"
    notes.write_text("")
    paths = [part for part in os.environ["PATH"].split(":") if not has_vtr(part)]
    environment = {"PATH": ":".join(paths), "PYTHON": str(clone.parent / "python"), "NOTES": str(notes), **variables}
    done = subprocess.run(["bash", *words], cwd=where, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout, notes.read_text().splitlines()


def installed(clone: Path, extra: str) -> list[str]:
    """What pip is asked for by a script that needs this extra."""
    script = f'set -euo pipefail; source "{clone}/examples/setup.sh" "$1"; command -v vtr'
    out, notes = call(clone, "-c", script, "script", extra)
    assert out.strip() == f"{clone}/.venv/bin/vtr"
    return [line.split(" --editable ")[1] for line in notes if "--editable" in line]


@pytest.mark.parametrize("given", ["absolute", "relative"])
def test_the_quickstart_in_a_folder_of_ones_own(clone: Path, given: str) -> None:
    folder = f"{clone.parent}/elsewhere/toys" if given == "absolute" else "toys"
    out, notes = call(clone, str(clone / "examples/quickstart.sh"), folder)
    assert [line for line in notes if "--editable" in line] == [f"-m pip install --quiet --editable {clone}"]
    assert (clone.parent / "elsewhere/toys/.vtr-quickstart").is_file()
    assert notes[-1].startswith(f"{clone.parent}/elsewhere: search {clone.parent}/elsewhere/toys/embeddings")
    assert out.endswith(f"to use it: source {clone}/.venv/bin/activate\n")


def test_every_script_says_which_extra_it_needs() -> None:
    """Without a word, a file that is sourced sees those of the script: a folder's name would pass for an extra."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (tests,) = (re.search(r"\[(.+)\]", line)[1].split(",") for line in extras["dev"] if line.startswith("vtr["))
    for script in [*ROOT.glob("examples/*.sh"), ROOT / "tests/run.sh"]:
        for words in re.findall(r"source \S+.*?setup\.sh\"?(.*)", script.read_text()):
            (asked,) = re.findall(r'^ ("?)([a-z-]*)\1(?:;|$)', words.rstrip(" }"))
            assert asked[1] in ("", "dev", *tests), f"{script.name}: {words}"


def test_an_environment_that_has_more_is_enough(clone: Path) -> None:
    assert installed(clone, "") == [f"{clone}"]
    assert installed(clone, "") == []
    assert installed(clone, "serve") == [f"{clone}[serve]"]
    assert installed(clone, "plot") == [f"{clone}[plot]"]
    assert installed(clone, "dev") == [f"{clone}[dev]"]
    assert [installed(clone, extra) for extra in ("", "serve", "plot", "lora", "dev")] == [[]] * 5
    with (clone / "pyproject.toml").open("a") as file:
        file.write("# other requirements\n")
    assert installed(clone, "serve") == [f"{clone}[serve]"]
    assert installed(clone, "") == [], "it has what is needed without extras"
    assert installed(clone, "plot") == [f"{clone}[plot]"]


@pytest.mark.parametrize("extra", ["", "serve", "plot"])
def test_an_active_environment_is_used_where_it_has_what_is_needed(clone: Path, extra: str) -> None:
    """One of the caller's own that lacks it stays as it is; that of the repository gets it."""
    own = clone.parent / "own/bin"
    own.mkdir(parents=True)
    (own / "vtr").write_text("#!/bin/bash\nprintf '[plot]   not installed: matplotlib>=3.8\\n[serve]  installed\\n'\n")
    (own / "vtr").chmod(0o755)
    script = f'set -euo pipefail; source "{clone}/examples/setup.sh" "$1" 2>&1; command -v vtr'

    def used(*first: Path) -> tuple[list[str], list[str]]:
        path = ":".join([*map(str, first), *(part for part in os.environ["PATH"].split(":") if not has_vtr(part))])
        out, notes = call(clone, "-c", script, "script", extra, PATH=path)
        return out.splitlines(), [line.split(" --editable ")[1] for line in notes if "--editable" in line]

    if extra != "plot":
        assert used(own) == ([f"{own}/vtr"], [])
        return
    lines, asked = used(own)
    assert lines[0] == f"the active environment lacks what the extra plot needs: using {clone}/.venv"
    assert (lines[-1], asked) == (f"{clone}/.venv/bin/vtr", [f"{clone}[plot]"])
    (clone / "pyproject.toml").write_text((clone / "pyproject.toml").read_text() + "# changed\n")
    lines, asked = used(clone / ".venv/bin")
    assert asked == [f"{clone}[plot]"], "active or not, .venv gets what it lacks"
    assert not any("lacks" in line for line in lines)


def test_run_by_itself_it_installs_an_extra(clone: Path) -> None:
    _, notes = call(clone, str(clone / "examples/setup.sh"), "notebook")
    assert [line.split(" --editable ")[1] for line in notes if "--editable" in line] == [f"{clone}[notebook]"]


def test_relative_paths_are_those_of_the_caller(clone: Path) -> None:
    script = f'set -euo pipefail; source "{clone}/examples/setup.sh" plot; pwd'
    out, _ = call(clone, "-c", script)
    assert out.strip() == f"{clone.parent}/elsewhere"
