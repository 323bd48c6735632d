"""Small Parquet files that unfold to much: refused before they do, by any encoding; all others are read as they are."""

from __future__ import annotations

import decimal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vtr.data import unfolding
from vtr.data.annotations import ReaderOptions, read
from vtr.errors import DataError
from vtr.retrieval.columns import read_table

LARGE, COUNT = "x" * (4 << 20), 300


def repeated(count: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array([0] * count, pa.int32()), pa.array([LARGE]))


@pytest.fixture(params=["dictionary", "nested", "plain", "prefixes", "numbers"])
def bomb(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files of some kilobytes that hold 1.2 GB, or as much more as the limit is lower for them."""
    path, texts = tmp_path / "emb-00000.parquet", repeated(COUNT)
    names: dict[str, Any] = {"id": ["a"] * COUNT, "modality": ["video"] * COUNT, "video": ["a.mp4"] * COUNT}
    if request.param == "dictionary":
        pq.write_table(pa.table({**names, "caption": texts}), path, compression="zstd")
    elif request.param == "nested":
        offsets = pa.array([0, COUNT], pa.int32())
        one = {name: values[:1] for name, values in names.items()}
        table = pa.table({**one, "caption": pa.ListArray.from_arrays(offsets, texts)})
        pq.write_table(table, path, compression="zstd")
    else:
        monkeypatch.setattr(unfolding, "LEAST", 1_000_000)
        few = {name: values[:2] for name, values in names.items()}
        if request.param == "numbers":
            table = pa.table({**few, "caption": ["c", "d"], "n": [[0] * 1_000_000, [0]]})
            pq.write_table(table, path, compression="zstd")
        else:
            encoding = {"caption": "DELTA_BYTE_ARRAY"} if request.param == "prefixes" else None
            table = pa.table({**few, "caption": [LARGE, LARGE]})
            pq.write_table(table, path, compression="zstd", use_dictionary=False, column_encoding=encoding)
    assert path.stat().st_size < 100_000
    return path


def test_a_table_that_unfolds(bomb: Path) -> None:
    with pytest.raises(DataError, match=r"emb-00000\.parquet has \d+ bytes and would unfold to more than [\d.]+ GB"):
        read("table", str(bomb), ReaderOptions())


def test_an_export_that_unfolds(bomb: Path) -> None:
    with pytest.raises(DataError, match=r"emb-00000\.parquet has \d+ bytes and would unfold to more than [\d.]+ GB"):
        read_table(bomb)


@pytest.mark.parametrize("encoding", ["DELTA_LENGTH_BYTE_ARRAY", "DELTA_BYTE_ARRAY"])
def test_texts_in_the_encodings_of_other_writers(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "emb-00000.parquet"
    rows = {"id": [str(n) for n in range(50)], "video": ["a.mp4"] * 50, "caption": [f"clip {n}" for n in range(50)]}
    how = dict.fromkeys(("id", "caption"), encoding)
    pq.write_table(pa.table(rows), path, use_dictionary=["video"], column_encoding=how)
    found = pa.Table.from_batches(list(unfolding.batches(path)))
    assert found["caption"].to_pylist() == rows["caption"]
    assert found["video"].to_pylist() == rows["video"]
    assert read_table(path)["id"].to_pylist() == rows["id"]


def test_lists_of_texts_over_many_small_groups(tmp_path: Path) -> None:
    table = pa.table({"video": [f"{n}.mp4" for n in range(50)], "caption": [["one", "two"], ["one"]] * 25})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=7)
    found = [row for batch in unfolding.batches(tmp_path / "t.parquet", rows=4) for row in batch.to_pylist()]
    assert found == table.to_pylist()
    assert len(read("table", str(tmp_path / "t.parquet"), ReaderOptions())) == 50


def test_every_type_is_what_it_was(tmp_path: Path) -> None:
    values = {
        "long": pa.array(["a", "b"], pa.large_string()),
        "struct": pa.array([{"x": "q", "y": 1}, None]),
        "map": pa.array([[("k", "v")], []], pa.map_(pa.string(), pa.string())),
        "list": pa.array([["a", "b"], None], pa.list_(pa.string())),
        "fixed": pa.array([[1.0, 2.0], [3.0, 4.0]], pa.list_(pa.float32(), 2)),
        "decimal": pa.array([decimal.Decimal("1.5"), None]),
        "bytes": pa.array([b"x", None]),
        "two": pa.array([b"xy", b"zz"], pa.binary(2)),
        "none": pa.array([None, None], pa.null()),
        "category": pa.array([7, 8]).dictionary_encode(),
        "bool": pa.array([True, None]),
    }
    table = pa.table(values)
    pq.write_table(table, tmp_path / "t.parquet")
    found = list(unfolding.batches(tmp_path / "t.parquet", rows=1))
    assert [row for batch in found for row in batch.to_pylist()] == table.to_pylist()
    some = list(unfolding.batches(tmp_path / "t.parquet", ["long", "list"]))
    assert some[0].to_pydict() == {name: table.column(name).to_pylist() for name in ("long", "list")}


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is told by /proc")
@pytest.mark.parametrize("kind", ["numbers of a dictionary", "prefixes", "encodings that are not true"])
def test_what_is_refused_was_not_unfolded(tmp_path: Path, kind: str) -> None:
    """The most memory of a process that meets lists of one short text, 448 MB, or long texts that differ in nothing.

    The last file says PLAIN and RLE of pages that have dictionaries too: zigzag 0, 3 and, no more, 8.
    """
    path = tmp_path / "t.parquet"
    if kind == "prefixes":
        texts = pa.table({"caption": ["x" * (32 << 20)] * 14})
        how = {"use_dictionary": False, "column_encoding": "DELTA_BYTE_ARRAY"}
        pq.write_table(texts, path, compression="zstd", write_statistics=False, store_schema=False, **how)
    elif kind == "encodings that are not true":
        pq.write_table(pa.table({"caption": repeated(COUNT)}), path, compression="zstd", store_schema=False)
        path.write_bytes(path.read_bytes().replace(b"\x35\x00\x06\x10", b"\x35\x00\x06\x00"))
        assert "RLE_DICTIONARY" not in pq.read_metadata(path).row_group(0).column(0).encodings
    else:
        rows, each = 64, 1_000_000
        numbers = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows * each, np.int8)), pa.array(["xxx"]))
        lists = pa.ListArray.from_arrays(pa.array(np.arange(rows + 1, dtype=np.int32) * each), numbers)
        pq.write_table(pa.table({"caption": lists}), path, compression="zstd", store_schema=False)
    assert path.stat().st_size < 10_000
    code = (
        "import sys; from pathlib import Path; from vtr.data import unfolding; import pyarrow.parquet\n"
        "from vtr.errors import DataError\n"
        "def most(name):\n"
        "    return int(next(s.split()[1] for s in open('/proc/self/status') if s.startswith(name)))\n"
        "unfolding.LEAST, before = 100_000_000, most('VmRSS')\n"
        "try:\n"
        "    print(len(list(unfolding.batches(Path(sys.argv[1])))))\n"
        "except DataError as error:\n"
        "    print((most('VmHWM') - before) // 1024, error)\n"
    )
    told = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True).stdout
    peak, message = told.split(maxsplit=1)
    assert "would unfold to more than 0.1 GB" in message
    assert int(peak) < 350, "MB"
