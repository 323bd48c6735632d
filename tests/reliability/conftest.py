"""Where a payload would leave its mark; a folder that is nobody's; a clip; a library that is loaded before ffmpeg."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from door_helpers import contents

from vtr.data import synthetic


@pytest.fixture
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The file that a payload would leave; it must not be there at the end."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    path = tmp_path / "opened"
    yield path
    assert not path.exists(), "the payload ran"


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A folder to which links and paths of strangers lead; at the end it must be as it was."""
    folder = tmp_path / "outside"
    for name in ("notes.txt", "vtr-notes/a.txt", "vectors-mine.npy", "img_emb_00000.npy", "000000.parquet"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{{}}\nmine: {name}")
    before = contents(folder)
    yield folder
    assert contents(folder) == before, "what lies outside was changed"


@pytest.fixture(scope="module")
def clip() -> bytes:
    return synthetic.encode(synthetic.render(next(synthetic.scenes(1, "train"))))


@pytest.fixture(scope="module")
def library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a C compiler makes of the LIBRARY of the module that asks for it."""
    if (compiler := shutil.which("cc")) is None:
        pytest.skip("the decoder is broken by a library that a C compiler makes")
    folder = tmp_path_factory.mktemp("library")
    (folder / "l.c").write_text(request.module.LIBRARY)
    made = [compiler, "-shared", "-fPIC", "-o", str(folder / "l.so"), str(folder / "l.c")]
    subprocess.run(made, check=True, capture_output=True)
    return folder / "l.so"
