"""Where a payload would leave its mark."""

from __future__ import annotations

from pathlib import Path

import pytest

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


@pytest.fixture(scope="module")
def clip() -> bytes:
    return synthetic.encode(synthetic.render(next(synthetic.scenes(1, "train"))))
