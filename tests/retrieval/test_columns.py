"""One column of a part of an export, or an error that says what is wrong with the file."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vtr.errors import DataError
from vtr.retrieval.columns import read_table


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
