"""A wheel holds all that vtr needs, and works where nothing of the repository is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from vtr.version import __version__

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel of this tree, built from a copy: building leaves folders behind."""
    pytest.importorskip("setuptools", minversion="77", reason="needs the extra dev")
    pytest.importorskip("pip", reason="needs pip")
    work = tmp_path_factory.mktemp("wheel")
    source = work / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "vtr", source / "vtr", ignore=shutil.ignore_patterns("__pycache__"))
    words = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", work, source]
    subprocess.run([sys.executable, "-m", "pip", *words], check=True, env=_clean())
    (found,) = work.glob("*.whl")
    return found


def _clean() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}


def test_everything_is_in_it(wheel: Path) -> None:
    there = set(zipfile.ZipFile(wheel).namelist())
    tracked = {
        str(path.relative_to(ROOT)) for path in (ROOT / "vtr").rglob("*") if path.is_file() and path.suffix != ".pyc"
    }
    assert tracked - there == set()
    assert {"vtr/py.typed", "vtr/recipes/mac-base.toml", "vtr/serve/page/index.html"} <= there
    outside = {name for name in there if not name.startswith(("vtr/", f"vtr-{__version__}.dist-info/"))}
    assert outside == set()


def test_its_metadata_come_from_one_place(wheel: Path) -> None:
    assert wheel.name == f"vtr-{__version__}-py3-none-any.whl"
    told = zipfile.ZipFile(wheel).read(f"vtr-{__version__}.dist-info/METADATA").decode()
    assert "Requires-Python: >=3.11" in told
    assert "License-Expression: Apache-2.0" in told
    assert "Provides-Extra: serve" in told
    for page in ROOT.rglob("*.toml"):
        assert page.name != "pyproject.toml" or __version__ not in page.read_text().split("[project.scripts]")[0]


@pytest.mark.slow
def test_it_works_in_an_environment_of_its_own(wheel: Path, tmp_path: Path) -> None:
    """Its dependencies are lent by this one, behind its own packages; `vtr` itself comes from the wheel alone."""
    home = tmp_path / "environment"
    venv.EnvBuilder(with_pip=False, symlinks=True).create(home)
    python = home / "bin/python"
    words = ["--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel]
    subprocess.run([sys.executable, "-m", "pip", *words], check=True, env=_clean())
    packages = next((home / "lib").glob("python*/site-packages"))
    (packages / "lent.pth").write_text(sysconfig.get_path("purelib"))
    environment = _clean() | {"PATH": f"{home / 'bin'}:{os.environ['PATH']}"}

    def call(*command: object, **more: str) -> str:
        done = subprocess.run(
            [str(word) for word in command], cwd=tmp_path, env=environment | more, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    where = call(python, "-c", "import vtr; print(vtr.__file__)")
    assert str(packages) in where
    assert call("vtr", "--version") == f"vtr {__version__}\n"
    assert "mac-tiny" in call("vtr", "recipes")
    assert "[serve]" in call("vtr", "env")
    out = call("bash", ROOT / "examples/quickstart.sh", TRAIN="24", TEST="8", STEPS="2")
    assert "text to video" in out
