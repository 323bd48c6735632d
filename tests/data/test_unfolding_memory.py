"""Parquet that tells of little and takes much: footers, pages and Python's objects; read within a bound on memory."""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vtr.data import index_file, memory, unfolding
from vtr.data.annotations import ReaderOptions, read
from vtr.errors import DataError
from vtr.retrieval.columns import read_table
from vtr.retrieval.parquet import layout

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is bounded on Linux")
ROOM = 60_000_000


@pytest.fixture(autouse=True)
def low(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unfolding, "ROOM", ROOM)
    monkeypatch.setattr(unfolding, "LEAST", ROOM // 4)
    monkeypatch.setattr(unfolding, "TIMES", 1)
    monkeypatch.setattr(index_file, "LEAST", ROOM // 4)


def varint(number: int, length: int = 0) -> bytes:
    """A number as thrift's compact protocol has it; zero groups behind it make it longer and change nothing."""
    groups = [number & 127]
    while number := number >> 7:
        groups.append(number & 127)
    groups += [0] * (length - len(groups))
    return bytes([*(group | 128 for group in groups[:-1]), groups[-1]])


def footer(path: Path) -> None:
    """A file of nothing but a footer: one row group whose columns are three bytes each, and a kilobyte in memory."""
    columns = 400_000
    schema = b"\x19\x1c" + b"\x48\x01r\x15\x00\x00"
    group = b"\x19\xfc" + varint(columns) + b"\x26\x00\x00" * columns + b"\x16\x00\x16\x00\x00"
    told = b"\x15\x02" + schema + b"\x16\x00" + b"\x19\x1c" + group + b"\x00"
    path.write_bytes(b"PAR1" + told + struct.pack("<I", len(told)) + b"PAR1")


def page(path: Path) -> None:
    """One row, a list of ten million numbers in a page, of which its chunk says that it has one."""
    count = 20_000_000
    lists = pa.ListArray.from_arrays(pa.array([0, count], pa.int32()), pa.array(np.zeros(count, np.int64)))
    table = pa.table({"id": ["a"], "modality": ["video"], "video": ["a.mp4"], "caption": ["c"], "n": lists})
    pq.write_table(table, path, compression="zstd", write_statistics=False, use_dictionary=["n.list.element"])
    data = path.read_bytes()
    start = len(data) - 8 - struct.unpack("<I", data[-8:-4])[0]
    told, true = data[start:-8], varint(2 * count)  # zigzag
    assert true in told
    path.write_bytes(data[:start] + told.replace(true, varint(2, len(true))) + data[-8:])


def objects(path: Path) -> None:
    """A list of a million structures of one truth value each: a megabyte as arrow has them."""
    count = 1_000_000
    one = pa.StructArray.from_arrays([pa.array(np.zeros(count, bool))], ["a"])
    lists = pa.ListArray.from_arrays(pa.array([0, count], pa.int32()), one)
    table = pa.table({"id": ["a"], "modality": ["video"], "video": ["a.mp4"], "caption": ["c"], "n": lists})
    pq.write_table(table, path, compression="zstd")


# What earlier arrays have left free is not counted, so that a page may just be read, and then be counted.
TAKES = (
    r"has \d+ bytes and would (take more than 0\.06 GB of memory to read|unfold to more than 0\.015 GB)\n.*--limits 10"
)


@pytest.mark.parametrize("make", [footer, page, objects])
def test_a_table(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "t.parquet")
    assert (tmp_path / "t.parquet").stat().st_size < 1_300_000
    usual = memory.resource.getrlimit(memory.resource.RLIMIT_DATA)
    with pytest.raises(DataError, match=TAKES):
        read("table", str(tmp_path / "t.parquet"), ReaderOptions())
    assert memory.resource.getrlimit(memory.resource.RLIMIT_DATA) == usual


@pytest.mark.parametrize("make", [footer, page])
def test_embeddings(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "emb-00000.parquet")
    with pytest.raises(DataError, match=TAKES):
        read_table(tmp_path / "emb-00000.parquet")
    assert layout([tmp_path / "emb-00000.parquet"]) is None


def test_an_index(tmp_path: Path) -> None:
    footer(tmp_path / "index.parquet")
    with pytest.raises(DataError, match=TAKES):
        index_file.read_header(tmp_path / "index.parquet")


def test_limits_are_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    objects(tmp_path / "t.parquet")
    monkeypatch.setenv("VTR_LIMITS", "20")
    (sample,) = read("table", str(tmp_path / "t.parquet"), ReaderOptions())
    assert sample.meta["n"] == [{"a": False}] * 1_000_000


def test_what_is_nested_has_the_outer_bound() -> None:
    get = memory.resource.getrlimit
    usual = get(memory.resource.RLIMIT_DATA)
    with memory.within(1 << 30):
        outer = get(memory.resource.RLIMIT_DATA)
        assert outer[0] != usual[0]
        with memory.within(1 << 40):
            assert get(memory.resource.RLIMIT_DATA) == outer
        assert get(memory.resource.RLIMIT_DATA) == outer
    assert get(memory.resource.RLIMIT_DATA) == usual
