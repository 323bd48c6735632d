"""Parquet of strangers in batches, refused where it would unfold to far more than its file holds.

A value that stands once in a dictionary can stand in a million rows. Texts are read as such dictionaries, so that what
they would unfold to is known before they do.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vtr import bounds
from vtr.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

LEAST, TIMES = 1_000_000_000, 100  # bytes that any file may unfold to, and how many times its own size: see `bounds`
FEW = 16  # rows at a time, or fewer: a text may share all but its end with the one before it
INDEX = 4  # bytes that a text takes as a dictionary's number, or as its place in a list
PLAIN = {"PLAIN", "RLE", "BIT_PACKED"}  # the latter two tell where lists begin and values are missing
AS_DICTIONARY = PLAIN | {"PLAIN_DICTIONARY", "RLE_DICTIONARY"}
WIDTHS = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 12, "FLOAT": 4, "DOUBLE": 8}  # bytes of a value


def batches(
    path: Path,
    columns: list[str] | None = None,
    rows: int = 4096,
    *,
    least: int | None = None,
    as_dictionaries: Collection[str] = (),
    verify: bool = False,
) -> Iterator[pa.RecordBatch]:
    """The rows of a Parquet file, so many at a time; texts may be dictionaries, also within lists and structs.

    `as_dictionaries`: paths in the file of those that always are; `verify` checks the sums of its pages. Raises
    DataError for a file that would unfold to more than `largest(path, least)` allows, and what pyarrow does.
    """
    import pyarrow.parquet as pq

    limit = largest(path, least)
    about = pq.read_metadata(path)
    chunks = _chunks(about)
    if sum(_told(chunk, about.schema) for chunk in chunks) > limit:
        raise _too_large(path, limit)
    texts = {chunk.path_in_schema for chunk in chunks if chunk.physical_type == "BYTE_ARRAY"}
    # pyarrow makes no dictionaries of texts in other encodings; those unfold as they are read, so few at a time.
    others = {chunk.path_in_schema for chunk in chunks if not AS_DICTIONARY.issuperset(chunk.encodings)}
    if unknown := [chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema in texts & others]:
        rows = max(1, min(FEW, limit // (4 * max(1, *unknown))))  # no text is longer than its chunk
    # What stands in its chunk as often as in the rows needs none, and is read sooner without.
    repeated = {chunk.path_in_schema for chunk in chunks if not PLAIN.issuperset(chunk.encodings)}
    dictionaries = sorted((texts & (repeated | set(as_dictionaries))) - others)
    total = 0
    with pq.ParquetFile(path, read_dictionary=dictionaries, page_checksum_verification=verify) as file:
        for group in range(file.num_row_groups):  # for arrow reads no list of dictionaries over several at once
            for batch in file.iter_batches(rows, [group], columns):
                total += sum(_unfolded(column) for column in batch.columns)
                if total > limit:
                    raise _too_large(path, limit)
                yield batch


def largest(path: Path, least: int | None = None) -> int:
    """The bytes that a file may unfold to: `least`, 1 GB when not given, or 100 times its own size."""
    return bounds.at_most(max(LEAST if least is None else least, TIMES * path.stat().st_size))


def _too_large(path: Path, limit: int) -> DataError:
    return DataError(
        f"{path} has {path.stat().st_size} bytes and would unfold to more than {limit / 1e9:g} GB", bounds.HINT
    )


def _chunks(about: Any) -> list[Any]:
    return [
        about.row_group(group).column(number)
        for group in range(about.num_row_groups)
        for number in range(about.num_columns)
    ]


def _told(chunk: Any, schema: Any) -> int:
    """Bytes of a column chunk, as its metadata say; of texts those of the file, each different one once.

    A text that stands again may take no byte of the file, yet takes its number in memory.
    """
    if chunk.physical_type == "BYTE_ARRAY":
        return max(int(chunk.total_uncompressed_size), INDEX * int(chunk.num_values))
    width = WIDTHS.get(chunk.physical_type)
    if width is None:
        places = (schema.column(number) for number in range(len(schema)))
        width = next(one.length for one in places if one.path == chunk.path_in_schema)
    return int(width * chunk.num_values)


def _unfolded(array: pa.Array) -> int:
    """Bytes of an array once every value stands for itself."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = array.type
    if pa.types.is_dictionary(kind):
        values, places = array.dictionary, array.indices
        if values.type in (pa.string(), pa.large_string(), pa.binary(), pa.large_binary()):
            each = pc.sum(pc.take(pc.binary_length(values), places)).as_py() or 0
        else:
            each = len(places) * values.nbytes // max(1, len(values))
        return int(places.nbytes + each)
    if pa.types.is_map(kind):
        return 8 * len(array) + _unfolded(array.keys) + _unfolded(array.items)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return 8 * len(array) + _unfolded(array.flatten())
    if pa.types.is_struct(kind):
        return sum(_unfolded(field) for field in array.flatten())
    return int(array.nbytes)
