"""Embeddings as Parquet: one row a vector, read by anything that reads Parquet.

    id: string    modality: "video" | "text"    source: string    start_s, end_s: double, null where there is no span
    caption: string, or list<string> in all rows where a row has several
    embedding: fixed_size_list<float | halffloat>[E]

Schema metadata of every file: version, model, weights_sha256, preprocessing, frames, dim, normalized; and digest and
skipped of the part that it holds: see parts.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vtr.data import unfolding
from vtr.errors import DataError
from vtr.retrieval.columns import described, missing_column, read_table, rows_table, told
from vtr.retrieval.embeddings import Embeddings, concatenated
from vtr.retrieval.exact import Floats
from vtr.retrieval.meta import agreed

if TYPE_CHECKING:
    import pyarrow as pa

NAMES = "emb-*.parquet"
OWN = ("digest", "skipped")  # what a file says of itself, not of the model


def write_file(file: Path, embeddings: Embeddings, labels: dict[str, str], dtype: str) -> None:
    """Write all of the embeddings to one file with `labels` in its schema."""
    import pyarrow.parquet as pq

    table = rows_table(embeddings)
    pq.write_table(
        table.append_column("embedding", _vector_column(embeddings.vectors, dtype)).replace_schema_metadata(labels),
        file,
        # Vectors do not compress: as plain pages they are read at the disk's speed.
        compression={**dict.fromkeys(table.column_names, "zstd"), "caption.list.element": "zstd"},
        use_dictionary=["modality", "source"],
    )


def read_files(files: Sequence[Path], *, as_stored: bool = False, bare: bool = False) -> Embeddings:
    """Read the files of embeddings as one; float16 becomes float32 unless `as_stored`; `bare`, vectors are (N, 0).

    Any file will do that has id, modality and embedding, a list of one length in every row.
    Raises DataError: a file is torn or foreign, files are of different models.
    """
    where = str(files[0].parent)
    parts = {file.name: _read_file(file, as_stored=as_stored, bare=bare) for file in files}
    if bare:
        metas = {name: part.meta for name, part in parts.items()}
    else:
        metas = {name: {**part.meta, "dim": str(part.vectors.shape[1])} for name, part in parts.items()}
    meta = agreed(where, metas)
    return concatenated(list(parts.values()), {key: meta[key] for key in meta if key not in OWN})


def layout(files: Sequence[Path]) -> tuple[int, int, str] | None:
    """(rows, dimensions, "float32" or "float16") of files as `vtr embed` writes them, None for others."""
    import pyarrow as pa

    from vtr.data.index_file import DAMAGE

    rows, kinds = 0, set()
    for file in files:
        try:
            rows += unfolding.about(file).num_rows
            schema = unfolding.schema_of(file)
        except (*DAMAGE, DataError):
            return None  # `read_files` says what is wrong
        kinds.add(schema.field("embedding").type if "embedding" in schema.names else None)
    kind = kinds.pop()
    names = {pa.float32(): "float32", pa.float16(): "float16"}
    if kinds or kind is None or not pa.types.is_fixed_size_list(kind) or kind.value_type not in names:
        return None
    return rows, kind.list_size, names[kind.value_type]


def blocks(files: Sequence[Path], rows: int) -> Iterator[Floats]:
    """The vectors of `files` as they are stored, at most so many rows at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from vtr.data.index_file import DAMAGE

    for file in files:
        try:
            with unfolding.bounded(file), pq.ParquetFile(file, memory_map=True) as opened:
                for batch in opened.iter_batches(rows, columns=["embedding"], use_threads=False):
                    yield _vectors_of(file, pa.chunked_array([batch.column(0)]), as_stored=True)
        except DAMAGE as error:
            raise DataError(
                f"{file} cannot be read as Parquet: {(str(error) or type(error).__name__).splitlines()[0]}",
                "it is torn or of another kind: delete it, then embed again",
            ) from error


def _read_file(file: Path, *, as_stored: bool, bare: bool) -> Embeddings:
    table = read_table(file, but="embedding" if bare else "")
    if bare:
        return described(file, table, np.empty((table.num_rows, 0), np.float32))
    if "embedding" not in table.column_names:
        raise missing_column(file, table, "embedding")
    vectors = _vectors_of(file, table.column("embedding"), as_stored=as_stored)
    rows = described(file, table.drop_columns(["embedding"]), vectors)
    dim = str(vectors.shape[1])
    if rows.meta.get("dim", dim) != dim:
        raise DataError(f"{file} says that it holds {rows.meta['dim']} dimensions but has {dim}", "embed again")
    return rows


def _vector_column(vectors: Floats, dtype: str) -> pa.Array:
    import pyarrow as pa

    flat = np.ascontiguousarray(vectors, dtype=dtype).reshape(-1)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat), vectors.shape[1])


def _vectors_of(file: Path, column: pa.ChunkedArray, *, as_stored: bool) -> Floats:
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if not (pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind)) or not (
        pa.types.is_floating(kind.value_type)
    ):
        raise DataError(f"{file} has {told(kind)} in column 'embedding', wanted a list of floats in each row")
    lengths = pc.unique(pc.list_value_length(column)).to_pylist()
    dim = kind.list_size if pa.types.is_fixed_size_list(kind) else next(iter(lengths), 0)
    if any(length != dim for length in lengths) or pc.list_flatten(column).null_count:
        raise DataError(f"{file} has embeddings with nulls or of several lengths: {lengths}")
    if not dim:
        raise DataError(f"{file} has no embeddings: {len(column)} rows of {dim} numbers", "embed again")
    half = as_stored and pa.types.is_float16(kind.value_type)
    vectors = np.empty((len(column), dim), dtype=np.float16 if half else np.float32)
    row = 0
    for chunk in column.chunks:
        vectors[row : row + len(chunk)] = chunk.flatten().to_numpy(zero_copy_only=False).reshape(-1, dim)
        row += len(chunk)
    return vectors
