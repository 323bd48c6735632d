"""The large index is an index as `vtr shard` writes it, and opening it is measured in a process of its own."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from vtr.bench import run
from vtr.bench.index import GOALS, PER_SHARD, resident_mb, write_large_index
from vtr.data import index_file
from vtr.data.index import ShardIndex


def test_the_large_index_opens_like_any_other(tmp_path: Path) -> None:
    samples = 2 * PER_SHARD + 5
    assert write_large_index(tmp_path, samples) > 0
    index = ShardIndex.open(tmp_path)
    assert len(index) == samples
    assert [shard.samples for shard in index.shards] == [PER_SHARD, PER_SHARD, 5]
    last = index.info(samples - 1)
    assert (last.key, last.shard, last.decoder) == (f"clip_{samples - 1:08d}", "000002.tar", "decord")
    assert [member.ext for member in index.members(7)] == ["json", "mp4"]
    assert index.members(PER_SHARD)[0].offset == 512


def test_a_column_that_came_later_has_its_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_file, "SCHEMA", index_file.SCHEMA.append(pa.field("came_later", pa.string(), False)))
    monkeypatch.setattr(index_file, "DEFAULTS", {**index_file.DEFAULTS, "came_later": "de"})
    write_large_index(tmp_path, 3)
    assert ShardIndex.open(tmp_path).facts("came_later").tolist() == ["de"] * 3


def test_memory_counts_what_is_held_and_not_what_is_mapped(tmp_path: Path) -> None:
    import mmap

    file = tmp_path / "file"
    file.write_bytes(b"x" * 50_000_000)
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as view:
        before = resident_mb()
        touched = sum(view[:: mmap.PAGESIZE])
        mapped = resident_mb()
    held = b"x" * 50_000_000
    assert touched > 0
    assert mapped - before < 10
    assert resident_mb() - mapped > 40
    assert len(held) > 0


def test_it_measures_what_its_goals_name() -> None:
    result = run("index", repeats=1, small=True)
    assert set(result["ratios"]) == set(GOALS) == set(result["goals"])
    assert 0 < result["ratios"]["index.open_s"] < result["figures"]["first_sample_s"] + 60
    assert result["figures"]["samples"] == 10_000
    assert result["machine"]["cores"] >= 1
