"""One column of a part of embeddings, or an error that says what is wrong with the file."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vtr.errors import DataError
from vtr.retrieval.columns import modalities, read_table


@pytest.fixture
def part(tmp_path: Path) -> Path:
    path = tmp_path / "emb-00000.parquet"
    pq.write_table(pa.table({"id": ["a", "b"], "modality": ["video", "text"], "embedding": [[1.0], [2.0]]}), path)
    return path


def test_which_columns_are_read(part: Path) -> None:
    assert read_table(part).column_names == ["id", "modality", "embedding"]
    assert read_table(part, but="embedding").column_names == ["id", "modality"]
    assert read_table(part, only="modality").to_pydict() == {"modality": ["video", "text"]}


def test_a_column_that_is_gone(part: Path) -> None:
    with pytest.raises(DataError, match=r"has no column 'caption' \(its columns: id, modality, embedding\)"):
        read_table(part, only="caption")


def test_a_torn_file(part: Path) -> None:
    part.write_bytes(part.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"emb-00000.parquet cannot be read as Parquet"):
        read_table(part, only="modality")


FAR = pa.array([2**31 - 1, 0], pa.date32())
VECTORS = pa.array([[1.0], [2.0]], pa.list_(pa.float32()))


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"id": FAR}, r"has date32\[day\] in column 'id' that cannot be read"),
        ({"caption": FAR}, r"has date32\[day\] in column 'caption' that cannot be read"),
        ({"id": pa.array([0, 1], pa.timestamp("us", tz="Nowhere/Such"))}, "in column 'id' that cannot be read"),
        ({"start_s": FAR}, r"has date32\[day\] in column 'start_s', wanted seconds"),
        ({"start_s": ["now", "then"]}, r"has string in column 'start_s', wanted seconds: Failed to parse string"),
        ({"start_s": pa.array(["a", "b"]).dictionary_encode()}, "has string in column 'start_s', wanted seconds"),
        ({"embedding": pa.array([1, 2]).dictionary_encode()}, "has int64 in column 'embedding', wanted a list of"),
        ({"embedding": ["a", "b"]}, "has string in column 'embedding', wanted a list of"),
        ({"embedding": [["a"], ["b"]]}, r"has list<element: string> in column 'embedding', wanted a list of"),
        ({"modality": pa.array(["video", "song"]).dictionary_encode()}, "modality is 'song', wanted"),
        ({"embedding": pa.array([[], []], pa.list_(pa.float32()))}, "has no embeddings: 2 rows of 0 numbers"),
    ],
)
def test_columns_of_others_that_cannot_be_read(columns: dict, words: str, tmp_path: Path) -> None:
    from vtr.retrieval.parquet import read_files

    table = {"id": ["a", "b"], "modality": ["video", "text"], "embedding": VECTORS, **columns}
    pq.write_table(pa.table(table), tmp_path / "emb-0.parquet")
    with pytest.raises(DataError, match=words):
        read_files([tmp_path / "emb-0.parquet"])


def test_no_rows_and_a_column_twice(tmp_path: Path) -> None:
    from vtr.retrieval.parquet import read_files

    path = tmp_path / "emb-0.parquet"
    names = ["id", "modality", "embedding"]
    pq.write_table(pa.table([pa.array([], pa.string())] * 2 + [VECTORS[:0]], names), path)
    with pytest.raises(DataError, match="has no embeddings: 0 rows"):
        read_files([path])
    pq.write_table(pa.table([["a", "b"], ["a", "b"], ["video", "text"], VECTORS], ["id", *names]), path)
    with pytest.raises(DataError, match="has two columns 'id'"):
        read_files([path])


def test_categories_are_read_as_what_they_are_of(tmp_path: Path) -> None:
    """As pandas and polars write columns of few different values: texts are texts, and numbers numbers."""
    from vtr.retrieval.parquet import read_files

    def few(values: list) -> pa.Array:
        return pa.array(values).dictionary_encode()

    table = {
        "id": few(["a", "a", "b"]), "modality": few(["video", "text", "text"]), "source": few(["s", None, "s"]),
        "start_s": few(["0.5", "1", None]), "end_s": few([1.5, 2.5, None]), "caption": few(["", "x", "x"]),
        "embedding": pa.array([[1.0], [2.0], [3.0]], pa.list_(pa.float32())),
    }  # fmt: skip
    pq.write_table(pa.table(table), tmp_path / "emb-0.parquet")
    found = read_files([tmp_path / "emb-0.parquet"])
    assert (found.ids, found.modality, found.source) == (["a", "a", "b"], ["video", "text", "text"], ["s", "", "s"])
    assert found.captions == ["", "x", "x"]
    assert found.start_s[:2].tolist() == [0.5, 1.0]
    assert found.end_s[:2].tolist() == [1.5, 2.5]


def test_of_what_rows_are(part: Path) -> None:
    assert modalities(part, read_table(part, only="modality")) == ["video", "text"]
    for other in ([1, 2], ["video", "image"], [None, "text"]):
        pq.write_table(pa.table({"id": ["a", "b"], "modality": other}), part)
        with pytest.raises(DataError, match=r"modality is '\w+', wanted|a null in column 'modality' at row 0"):
            modalities(part, read_table(part, only="modality"))
