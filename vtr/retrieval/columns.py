"""What rows are of, to and from an Arrow table: the columns beside the vectors, the same in both layouts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vtr.data import unfolding
from vtr.errors import DataError
from vtr.retrieval.embeddings import TEXT, VIDEO, Embeddings
from vtr.retrieval.exact import Floats

if TYPE_CHECKING:
    import pyarrow as pa

ROWS = 65_536  # that are read at once
# Other tools' names for the same thing, tried in turn: clip-retrieval writes image_path and caption.
ALIASES = {"id": ("id", "key", "image_path", "url"), "source": ("source", "image_path", "url")}


def read_table(file: Path, *, but: str = "", only: str = "") -> pa.Table:
    """A Parquet file as a table, without the column `but` or `only` one. Raises DataError: torn, or of another kind."""
    import pyarrow as pa

    from vtr.data.index_file import DAMAGE

    try:
        schema = unfolding.schema_of(file)
        names = [name for name in schema.names if name != but and only in ("", name)]
        if only and not names:
            raise missing_column(file, schema.empty_table(), only)
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise DataError(f"{file} has two columns {twice[0]!r}", "rename one of them")
        found = list(unfolding.batches(file, names, ROWS))
        table = pa.Table.from_batches(found) if found else schema.empty_table().select(names)
        table = table.replace_schema_metadata(schema.metadata)
        table.validate(full=True)  # offsets that lead out of their buffer, text that is no UTF-8
    except DAMAGE as error:
        raise DataError(
            f"{file} cannot be read as Parquet: {(str(error) or type(error).__name__).splitlines()[0]}",
            "it is torn or of another kind: delete it, then embed again",
        ) from error
    return table


def rows_table(embeddings: Embeddings) -> pa.Table:
    """id, modality, source, start_s, end_s (null for NaN), caption; captions are lists in all rows if in one."""
    import pyarrow as pa

    captions: list[Any] = embeddings.captions
    lists = any(isinstance(caption, list) for caption in captions)
    if lists:
        captions = [caption if isinstance(caption, list) else [caption] for caption in captions]
    return pa.table(
        {
            "id": pa.array(embeddings.ids, pa.string()),
            "modality": pa.array(embeddings.modality, pa.string()),
            "source": pa.array(embeddings.source, pa.string()),
            "start_s": pa.array(embeddings.start_s, pa.float64(), from_pandas=True),
            "end_s": pa.array(embeddings.end_s, pa.float64(), from_pandas=True),
            "caption": pa.array(captions, pa.list_(pa.string()) if lists else pa.string()),
        }
    )


def described(file: Path, table: pa.Table, vectors: Floats, modality: str | None = None) -> Embeddings:
    """The vectors (N, E) with what `table`'s N rows say of them; its metadata become the embeddings'.

    `modality` stands in for a column of that name. Raises DataError: a column is missing or of the wrong type.
    """
    rows = len(vectors)
    return Embeddings(
        ids=_strings(file, table, "id"),
        modality=[modality] * rows if modality else modalities(file, table),
        source=_strings(file, table, "source") if _alias(table, "source") else [""] * rows,
        start_s=_times(file, table, "start_s"),
        end_s=_times(file, table, "end_s"),
        captions=_captions(file, table),
        vectors=vectors,
        meta=_meta(table),
    )


def missing_column(file: Path, table: pa.Table, wanted: str) -> DataError:
    """The error for a table without a column."""
    there = ", ".join(table.column_names) or "none"
    return DataError(
        f"{file} has no column '{wanted}' (its columns: {there})",
        "are these embeddings? `vtr embed` writes them",
    )


def _meta(table: pa.Table) -> dict[str, str]:
    # Other writers' blobs (pandas, huggingface) are no part of what embeddings say of their model.
    pairs = (table.schema.metadata or {}).items()
    return {
        k.decode(errors="replace"): v.decode(errors="replace") for k, v in pairs if k not in (b"pandas", b"huggingface")
    }


def _alias(table: pa.Table, name: str) -> str | None:
    return next((alias for alias in ALIASES.get(name, (name,)) if alias in table.column_names), None)


def modalities(file: Path, table: pa.Table) -> list[str]:
    """Of each row of a table, "video" or "text". Raises DataError for another, or none."""
    found = _strings(file, table, "modality")
    if unknown := set(found) - {VIDEO, TEXT}:
        raise DataError(
            f"{file}: modality is {min(unknown)!r}, wanted '{VIDEO}' or '{TEXT}'",
            f"what is found by its captions is a '{VIDEO}' here, an image too",
        )
    return found


def _strings(file: Path, table: pa.Table, name: str) -> list[str]:
    column = _alias(table, name)
    if column is None:
        raise missing_column(file, table, name)
    values = _plain(file, table, column)
    if name != "source" and any(value is None for value in values):
        raise DataError(f"{file} has a null in column '{column}' at row {values.index(None)}, every row needs one")
    return ["" if value is None else str(value) for value in values]


def _plain(file: Path, table: pa.Table, name: str) -> list[Any]:
    """A column as Python's own values. Raises DataError for one that Python has not, a day 300 000 years away, say."""
    from vtr.data.index_file import DAMAGE

    try:
        with unfolding.bounded(file):
            return list(table.column(name).to_pylist())
    except DAMAGE as error:
        kind = told(table.schema.field(name).type)
        raise DataError(f"{file} has {kind} in column '{name}' that cannot be read: {error}", "store text") from error


def _times(file: Path, table: pa.Table, name: str) -> NDArray[np.float64]:
    import pyarrow as pa

    from vtr.data.index_file import DAMAGE

    if name not in table.column_names:
        return np.full(table.num_rows, np.nan)
    try:
        column = table.column(name)
        if pa.types.is_dictionary(column.type):  # as texts are read, and as pandas stores categories
            column = column.cast(column.type.value_type)
        column = column.cast(pa.float64())
    except DAMAGE as error:
        kind = told(table.column(name).type)
        raise DataError(
            f"{file} has {kind} in column '{name}', wanted seconds: {str(error).splitlines()[0]}", "store numbers"
        ) from error
    return np.asarray(column.fill_null(float("nan")).to_numpy(), dtype=np.float64)


def told(kind: pa.DataType) -> str:
    """A type in words; of what stands once in a dictionary, the type of its values: how they are kept is no matter."""
    return re.sub(r"dictionary<values=(.*?), indices=\w+, ordered=\d>", r"\1", str(kind))


def _captions(file: Path, table: pa.Table) -> list[str | list[str]]:
    if "caption" not in table.column_names:
        return [""] * table.num_rows
    values = _plain(file, table, "caption")
    return [
        [str(one) for one in value] if isinstance(value, list) else "" if value is None else str(value)
        for value in values
    ]
