"""An index of anybody that raises the limits on its videos: they are heeded, and said wherever it is opened."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from vtr import api
from vtr.data import index_file
from vtr.data.limits import Limits

TOLD = "was made with raised limits and is read with them: max_pixels = 256000000, not 9437184;"


@pytest.fixture
def raised(test_shards: Path, tmp_path: Path) -> Path:
    """The test clips under an index that lets pictures of 16 000 by 16 000 through, and fewer packets than usual."""
    where = tmp_path / "raised"
    shutil.copytree(test_shards, where)
    header, table = index_file.read_whole(where / index_file.NAME)
    limits = Limits(max_pixels=16_000 * 16_000, max_packets=200_000)
    index_file.write_index(where / index_file.NAME, table, header.shards, limits)
    return where


def told(capsys: pytest.CaptureFixture[str], where: Path) -> bool:
    said = capsys.readouterr()
    assert "raised limits" not in said.out
    assert "max_packets" not in said.err, "a limit that was lowered costs nobody anything"
    return said.err.count(f"warning: {where} {TOLD}") == 1


def test_raised_limits_are_said(
    raised: Path, test_shards: Path, nano: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    [line] = api.inspect_shards(raised)["warnings"]
    assert line.startswith(f"{raised} {TOLD}")
    assert api.inspect_shards(test_shards)["warnings"] == []
    capsys.readouterr()
    api.embed(run, raised, tmp_path / "e", device="cpu")
    assert told(capsys, raised)
    api.evaluate(run, [raised], device="cpu")
    assert told(capsys, raised)
    few = {"train.steps": 2, "train.device": "cpu"}
    api.pretrain(str(nano), raised, tmp_path / "trained", overrides=few)
    assert told(capsys, raised)
    api.pretrain(
        str(nano), test_shards, tmp_path / "scored", overrides=few | {"train.eval_every": 1}, eval_shards=raised
    )
    assert told(capsys, raised)
