"""Parquet of strangers in batches, refused where it would unfold to far more than its file holds.

A value that stands once in a dictionary can stand in a million rows. Texts are read as such dictionaries, so that what
they would unfold to is known before they do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vtr import bounds
from vtr.data import memory
from vtr.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

LEAST, TIMES = 1_000_000_000, 100  # bytes that any file may unfold to, and how many times its own size: see `bounds`
# A footer, a page or Python's own objects can take far more memory than they tell of: so many bytes, or so many times
# what may unfold.
ROOM, ROOM_TIMES = 1_000_000_000, 4
FEW = 16  # rows at a time, or fewer: a text may share all but its end with the one before it
INDEX = 4  # bytes that a text takes as a dictionary's number, or as its place in a list
# RLE and BIT_PACKED tell where lists begin and values are missing.
AS_DICTIONARY = {"PLAIN", "RLE", "BIT_PACKED", "PLAIN_DICTIONARY", "RLE_DICTIONARY"}
WIDTHS = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 12, "FLOAT": 4, "DOUBLE": 8}  # bytes of a value


def batches(
    path: Path,
    columns: list[str] | None = None,
    rows: int = 4096,
    *,
    least: int | None = None,
    verify: bool = False,
) -> Iterator[pa.RecordBatch]:
    """The rows of a Parquet file, so many at a time; texts may be dictionaries, also within lists and structs.

    `verify` checks the sums of its pages. Raises DataError for a file that would unfold to more than
    `largest(path, least)` allows, and what pyarrow does.
    """
    with bounded(path, least):
        yield from _batches(path, columns, rows, largest(path, least), verify=verify)


@contextmanager
def bounded(path: Path, least: int | None = None) -> Iterator[None]:
    """Whatever reads `path` may take so much memory: four times what `largest` tells, 1 GB at least (Linux).

    Raises DataError where it would take more.
    """
    room = max(bounds.at_most(ROOM), ROOM_TIMES * largest(path, least))
    try:
        with memory.within(room):
            yield
    except (MemoryError, OSError) as error:
        if not isinstance(error, MemoryError) and "std::bad_alloc" not in str(error):  # a footer's is called an OSError
            raise
        raise DataError(
            f"{path} has {path.stat().st_size} bytes and would take more than {room / 1e9:.3g} GB of memory to read",
            bounds.HINT,
        ) from error


def schema_of(path: Path, least: int | None = None) -> pa.Schema:
    """The schema of a Parquet file. Raises DataError for one that takes too much memory, and what pyarrow does."""
    import pyarrow.parquet as pq

    with bounded(path, least):
        return pq.read_schema(path)


def about(path: Path, least: int | None = None) -> Any:
    """The metadata of a Parquet file. Raises DataError for one that takes too much memory, and what pyarrow does."""
    import pyarrow.parquet as pq

    with bounded(path, least):
        return pq.read_metadata(path)


def _batches(path: Path, columns: list[str] | None, rows: int, limit: int, *, verify: bool) -> Iterator[pa.RecordBatch]:
    import pyarrow.parquet as pq

    about = pq.read_metadata(path)
    groups, schema = [about.row_group(group) for group in range(about.num_row_groups)], about.schema
    # What the schema says of each column, for what a chunk says of itself pyarrow does not look at.
    kinds = [schema.column(number) for number in range(len(schema))]
    if sum(_told(group.column(n), kind) for group in groups for n, kind in enumerate(kinds)) > limit:
        raise _too_large(path, limit)
    # All texts are asked for as dictionaries: what a file says of their encodings need not be so.
    texts = frozenset(kind.path for kind in kinds if kind.physical_type == "BYTE_ARRAY")
    total = 0
    with ExitStack() as stack:

        @cache
        def opened(dictionaries: frozenset[str]) -> Any:
            how = {"read_dictionary": sorted(dictionaries), "page_checksum_verification": verify}
            return stack.enter_context(pq.ParquetFile(path, **how))

        for number, group in enumerate(groups):  # for arrow reads no list of dictionaries over several at once
            ways = [(texts, rows)]
            if other := _in_other_encodings(group, kinds):
                # pyarrow makes no dictionaries of these. They unfold as they are read: few rows at a time, then.
                longest = max(1, *(int(size) for size in other.values()))  # no text is longer than its chunk
                ways.append((texts.difference(other), max(1, min(FEW, limit // (4 * longest)))))
            for dictionaries, some in ways:
                begun = False
                try:
                    for batch in opened(dictionaries).iter_batches(some, [number], columns, use_threads=False):
                        begun = True
                        total += sum(_unfolded(column) for column in batch.columns)
                        if total > limit:
                            raise _too_large(path, limit)
                        yield batch
                    break
                except (OSError, NotImplementedError):  # such an encoding is either, to pyarrow
                    if begun or (dictionaries, some) == ways[-1]:
                        raise


def largest(path: Path, least: int | None = None) -> int:
    """The bytes that a file may unfold to: `least`, 1 GB when not given, or 100 times its own size."""
    return bounds.at_most(max(LEAST if least is None else least, TIMES * path.stat().st_size))


def _too_large(path: Path, limit: int) -> DataError:
    return DataError(
        f"{path} has {path.stat().st_size} bytes and would unfold to more than {limit / 1e9:g} GB", bounds.HINT
    )


def _in_other_encodings(group: Any, kinds: Sequence[Any]) -> dict[str, int]:
    """The texts of a row group that it says are in encodings of which pyarrow makes no dictionaries; their bytes."""
    chunks = [(kind, group.column(n)) for n, kind in enumerate(kinds) if kind.physical_type == "BYTE_ARRAY"]
    return {kind.path: c.total_uncompressed_size for kind, c in chunks if not AS_DICTIONARY.issuperset(c.encodings)}


def _told(chunk: Any, kind: Any) -> int:
    """Bytes of a column chunk, as its metadata say; of texts those of the file, each different one once.

    A text that stands again may take no byte of the file, yet takes its number in memory.
    """
    if kind.physical_type == "BYTE_ARRAY":
        return max(int(chunk.total_uncompressed_size), INDEX * int(chunk.num_values))
    return int(WIDTHS.get(kind.physical_type, kind.length) * chunk.num_values)


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
