"""index.parquet as other tools may leave it: read when it is sound, refused when it would unfold to far too much."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from index_helpers import build, content
from typer.testing import CliRunner

from vtr.cli.app import app
from vtr.data import index_file
from vtr.data.index import ShardIndex
from vtr.errors import DataError

DELTA = dict.fromkeys(("key", "sha256", "split", "captions.list.element"), "DELTA_BYTE_ARRAY")
WAYS: dict[str, dict[str, Any]] = {
    "as pyarrow does": {},
    "in small groups": {"row_group_size": 2},
    "in pages of other formats": {"data_page_version": "2.0", "compression": "gzip"},
    "without dictionaries": {"use_dictionary": False},
    "as texts with common beginnings": {"use_dictionary": ["shard"], "column_encoding": DELTA},
}


@pytest.mark.parametrize("way", WAYS)
def test_an_index_that_another_tool_wrote_again(tmp_path: Path, way: str) -> None:
    before = build(tmp_path)
    path = tmp_path / index_file.NAME
    header, table = index_file.read_whole(path)
    meta = pq.read_schema(path).metadata
    pq.write_table(table.replace_schema_metadata(meta), path, **WAYS[way])
    assert index_file.read_whole(path)[0] == header
    assert index_file.read_whole(path)[1].equals(table)
    index = ShardIndex.open(tmp_path)
    assert [index.info(i) for i in range(7)] == [before.info(i) for i in range(7)]
    assert [index.members(i) for i in range(7)] == [before.members(i) for i in range(7)]
    assert index.read_video(6) == content(6)


def test_a_row_says_every_column_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(tmp_path)
    row = index_file.read_whole(tmp_path / index_file.NAME)[1].to_pylist()[0]
    assert index_file.rows_to_table([row]).to_pylist() == [row]
    monkeypatch.setattr(index_file, "SCHEMA", index_file.SCHEMA.append(pa.field("area", pa.int32(), False)))
    monkeypatch.setattr(index_file, "DEFAULTS", {**index_file.DEFAULTS, "area": 0})
    with pytest.raises(TypeError, match=r"the row of 'k0' has no area: see SCHEMA of vtr\.data\.index_file"):
        index_file.rows_to_table([row])
    assert index_file.rows_to_table([{**row, "area": 7}]).column("area").to_pylist() == [7]
    with pytest.raises(TypeError, match="has no area and arae, which is no column"):
        index_file.rows_to_table([{**row, "arae": 7}])


@pytest.fixture
def bomb(tmp_path: Path) -> Path:
    """The index of one small tar, saying that it has 80,000 samples of one caption of 5,000 letters, or 400 MB."""
    build(tmp_path, samples=1)
    path = tmp_path / index_file.NAME
    _, table = index_file.read_whole(path)
    about = json.loads(pq.read_schema(path).metadata[index_file.META])
    about["shards"][0]["samples"] = 80_000
    meta = {index_file.META: json.dumps(about)}
    one = index_file.rows_to_table([{**table.to_pylist()[0], "captions": ["c" * 5000]}] * 2000)
    with pq.ParquetWriter(path, one.schema.with_metadata(meta), compression="zstd", write_statistics=False) as file:
        for _ in range(40):
            file.write_table(one)
    assert path.stat().st_size < 200_000
    return tmp_path


def test_an_index_that_unfolds_to_far_too_much(bomb: Path) -> None:
    too_much = r"index\.parquet has \d+ bytes and would unfold to more than 0\.1 GB"
    with pytest.raises(DataError, match=too_much) as caught:
        ShardIndex.open(bomb).captions(0)
    assert "make it anew: vtr inspect DIR --index" in caught.value.hint
    with pytest.raises(DataError, match=too_much):
        index_file.read_whole(bomb / index_file.NAME)
    told = CliRunner().invoke(app, ["inspect", str(bomb)])
    assert isinstance(told.exception, DataError), told.output
    assert "would unfold to more than" in told.exception.message
