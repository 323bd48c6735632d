"""`index.parquet`: one row a sample, saying where each of its bytes is; any Parquet tool reads it.

Shards, their sizes and the digest of the whole stand in the file's own metadata under `vtr.index`.
"""

from __future__ import annotations

import hashlib
import json
import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vtr import plainjson
from vtr.atomic import replacing
from vtr.data import unfolding
from vtr.data.hashing import feed
from vtr.data.limits import DEFAULT, Limits, limits_of
from vtr.data.tarwriter import Member
from vtr.errors import DataError

NAME = "index.parquet"
FORMAT = 1
META = b"vtr.index"
GROUP = 1 << 17  # rows that are written, and read, at a time
ANEW = "make it anew: vtr inspect DIR --index"  # what to do with an index that cannot be used
LEAST = 100_000_000  # bytes that any index may unfold to: see `unfolding`

# The members of a sample are four lists side by side, in the order of the tar: `<key>.<member_ext>` has `member_size`
# bytes from byte `member_offset` of its shard on, and `member_crc32` is zlib's CRC of them.
SCHEMA = pa.schema(
    [
        pa.field("key", pa.large_string(), False),
        pa.field("shard", pa.string(), False),
        pa.field("member_ext", pa.list_(pa.field("element", pa.string(), False)), False),
        pa.field("member_offset", pa.list_(pa.field("element", pa.int64(), False)), False),
        pa.field("member_size", pa.list_(pa.field("element", pa.int64(), False)), False),
        pa.field("member_crc32", pa.list_(pa.field("element", pa.uint32(), False)), False),
        pa.field("captions", pa.large_list(pa.field("element", pa.large_string(), False)), False),
        pa.field("frames", pa.int32(), False),
        pa.field("fps", pa.float64(), False),
        pa.field("duration_s", pa.float64(), False),
        pa.field("width", pa.int32(), False),
        pa.field("height", pa.int32(), False),
        pa.field("split", pa.string(), False),
        pa.field("sha256", pa.large_string(), False),  # of the source video's bytes, in hex
        pa.field("decoder", pa.string(), False),
        pa.field("store", pa.string(), False),
    ]
)
# What a column says where an index is of before it came; rows that are written say it themselves. Such a column can be
# none of CONTENT: the digest has it not.
DEFAULTS: Mapping[str, Any] = {"split": ""}
# Columns of few distinct values, by their path in the file.
REPEATING = {name: name for name in ("shard", "split", "decoder", "store")} | {"member_ext": "member_ext.list.element"}
# What pyarrow raises while it reads a damaged file: its own errors, and those of Python, for a name that is gone, say.
DAMAGE = (pa.ArrowException, OSError, LookupError, TypeError, ValueError, ArithmeticError, MemoryError)
# What decides which bytes and captions a training step sees; measured facts such as fps do not.
CONTENT = ("key", "shard", "member_ext", "member_offset", "member_size", "member_crc32", "captions", "sha256")


@dataclass(frozen=True, slots=True)
class Shard:
    """One tar: its file name, its size in bytes and how many samples it holds."""

    name: str
    bytes: int
    samples: int


@dataclass(frozen=True, slots=True)
class Header:
    """What the metadata of an index says of the whole.

    `read_with`: how tars of others were read, where it was not the usual way (`caption_key`, `split`).
    """

    digest: str
    shards: tuple[Shard, ...]
    limits: Limits = DEFAULT
    read_with: Mapping[str, str] = field(default_factory=dict)


def make_row(
    key: str,
    shard: str,
    members: Sequence[Member],
    captions: Sequence[str],
    split: str,
    sha256: str,
    store: str,
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    """One row of the index; `facts` are the columns that decoding has measured, by name."""
    return {
        "key": key,
        "shard": shard,
        "member_ext": [member.ext for member in members],
        "member_offset": [member.offset for member in members],
        "member_size": [member.size for member in members],
        "member_crc32": [member.crc32 for member in members],
        "captions": list(captions),
        "split": split,
        "sha256": sha256,
        "store": store,
        **facts,
    }


def rows_to_table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows of the index as an arrow table of exactly SCHEMA.

    Raises TypeError, a fault of ours, where a row has no value of a column or one of none: arrow would take it as null.
    """
    names = frozenset(SCHEMA.names)
    for row in rows:
        if row.keys() != names:
            lacks, odd = sorted(names - row.keys()), sorted(row.keys() - names)
            told = [*(f"no {name}" for name in lacks), *(f"{name}, which is no column" for name in odd)]
            raise TypeError(f"the row of {row.get('key')!r} has {' and '.join(told)}: see SCHEMA of {__name__}")
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def has_columns(schema: pa.Schema) -> bool:
    """Whether a file with rows of the index has all of its columns, in their order and of their types, and no other."""
    return bool(schema.remove_metadata().equals(SCHEMA))


def write_index(
    path: Path,
    table: pa.Table,
    shards: Sequence[Shard],
    limits: Limits = DEFAULT,
    read_with: Mapping[str, str] | None = None,
) -> Header:
    """Writes the index of `shards` at `path`, whole or not at all; the same bytes for the same rows.

    `limits` are those that its videos passed, and are read with; `read_with` as in the header.
    """
    header = Header(digest_of(table, shards), tuple(shards), limits, dict(read_with or {}))
    meta = {"format": FORMAT, "digest": header.digest, "shards": [asdict(shard) for shard in shards]}
    if raised := limits.raised():
        meta["limits"] = raised
    if header.read_with:
        meta["read_with"] = header.read_with
    table = table.replace_schema_metadata({META: json.dumps(meta)})
    with replacing(path) as file:
        pq.write_table(
            table, file, compression="zstd", use_dictionary=list(REPEATING.values()), row_group_size=GROUP,
            write_page_checksum=True,
        )  # fmt: skip
    return header


def read_header(path: Path) -> Header:
    """The metadata of the index at `path`. Raises DataError when it is no index of vtr's, or of another format."""
    try:
        schema = unfolding.schema_of(path, LEAST)
        meta = plainjson.loads(schema.metadata[META])
        number = meta["format"]
    except DAMAGE as error:
        raise DataError(f"{path} is no shard index: {_first_line(error)}", ANEW) from error
    if number != FORMAT:
        raise DataError(
            f"{path} is an index of format {str(number)[:20]}, this vtr reads format {FORMAT}",
            ANEW,
        )
    # An index may come from anybody: what is taken from it for a name or a place is looked at before it is used.
    there = schema.names
    if not schema.remove_metadata().equals(_without([name for name in DEFAULTS if name not in there])):
        known = SCHEMA.names
        odd = [*(f"no {name}" for name in known if name not in there), *(name for name in there if name not in known)]
        raise DataError(
            f"{path} has other columns than an index has: {', '.join(odd[:4])[:200] or 'of other types'}",
            ANEW,
        )
    try:
        digest, shards = str(meta["digest"]), tuple(Shard(**shard) for shard in meta["shards"])
        limits = limits_of({str(name): operator.index(value) for name, value in meta.get("limits", {}).items()})
        sound = all(type(s.name) is str and _counts(s.bytes) and _counts(s.samples) for s in shards)
        read_with = {str(name): str(value) for name, value in meta.get("read_with", {}).items()}
    except (KeyError, TypeError, AttributeError):
        sound = False
    if not sound or not re.fullmatch(r"[0-9a-f]{64}", digest):  # the digest names a folder of the cache
        raise DataError(f"{path} does not say which tars it is of", ANEW)
    for shard in shards:
        if PurePosixPath(shard.name).is_absolute() or ".." in PurePosixPath(shard.name).parts:
            raise DataError(f"{path} names a tar outside of its directory: {shard.name!r}", ANEW)
    return Header(digest, shards, limits, read_with)


def _counts(value: object) -> bool:
    return type(value) is int and 0 <= value < 1 << 63


def read_whole(path: Path) -> tuple[Header, pa.Table]:
    """The index at `path` with all rows, checked by the sums of its pages and by its digest.

    Raises DataError when it is damaged, or would unfold to far more than an index of its size.
    """
    header = read_header(path)
    try:
        with unfolding.bounded(path, LEAST):
            columns = [_read(path, name, verify=True) for name in SCHEMA.names]
            plain = [column.cast(one.type) for column, one in zip(columns, SCHEMA, strict=True)]
            table = pa.table(plain, SCHEMA.with_metadata(pq.read_schema(path).metadata))
            sound = digest_of(table, header.shards) == header.digest
    except DAMAGE as error:
        raise DataError(f"{path} is damaged: {_first_line(error)}", ANEW) from error
    if not sound:
        raise DataError(
            f"{path} is damaged: its rows are not those that it has the digest of",
            ANEW,
        )
    return header, table


def read_part(path: Path, shard: str) -> pa.Table:
    """The rows of the tar `shard` alone, as SCHEMA, which an earlier run may have left beside its tars.

    Raises DataError when they are damaged or of another tar, or would unfold to far more than an index of its size;
    FileNotFoundError when another process has removed them.
    """
    try:
        columns = [_read(path, one.name).cast(one.type) for one in SCHEMA]
    except DataError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise error.__cause__ from None
        raise DataError(error.message, "remove that file and run the same command again") from error
    table = pa.table(columns, SCHEMA)
    if set(table.column("shard").unique().to_pylist()) - {shard}:
        raise DataError(f"{path} is damaged: it has rows of other tars", "remove it and run the same command again")
    return table


def read_column(path: Path, name: str) -> pa.Array:
    """One column of the index as a single array, its default where an older index has none.

    Those of few distinct values have dictionaries. Raises DataError as `read_whole` does.
    """
    found = _read(path, name)
    if not len(found) or found.null_count:
        raise DataError(f"{path} is damaged: its {name} has no values", ANEW)
    return found


def _read(path: Path, name: str, *, verify: bool = False) -> pa.Array:
    few = name in REPEATING
    try:
        with unfolding.bounded(path, LEAST):
            about = pq.read_metadata(path)
            if name in DEFAULTS and name not in about.schema.to_arrow_schema().names:
                return _default(name, about.num_rows)
            read = unfolding.batches(path, [name], GROUP, least=LEAST, verify=verify)
            chunks = [batch.column(0) if few else batch.column(0).cast(SCHEMA.field(name).type) for batch in read]
            found = pa.chunked_array(chunks, None if chunks else SCHEMA.field(name).type)
            found = _with_dictionary(found.unify_dictionaries().combine_chunks()) if few else found.combine_chunks()
            found.validate(full=True)  # offsets that lead out of their buffer, text that is no UTF-8
    except DataError as error:  # it would unfold to too much
        raise DataError(error.message, f"{ANEW}; {error.hint}") from error
    except DAMAGE as error:
        raise DataError(f"{path} is damaged: {_first_line(error)}", ANEW) from error
    return found


def _with_dictionary(array: pa.Array) -> pa.Array:
    """Texts, or lists of them, as dictionaries; other tools may write them so that they are not read as such."""
    if pa.types.is_list(array.type):
        return pa.ListArray.from_arrays(array.offsets, _with_dictionary(array.values))
    return array if pa.types.is_dictionary(array.type) else array.dictionary_encode()


def _without(names: Sequence[str]) -> pa.Schema:
    return pa.schema([column for column in SCHEMA if column.name not in names])


def _default(name: str, rows: int) -> pa.Array:
    """(rows,) the column that an index of before it has not."""
    return pa.repeat(pa.scalar(DEFAULTS[name], SCHEMA.field(name).type), rows)


def digest_of(table: pa.Table, shards: Sequence[Shard]) -> str:
    """sha256, in hex, of all that decides what a step of training sees, in order; the place on disk does not."""
    state = hashlib.sha256(json.dumps([FORMAT, [asdict(shard) for shard in shards]]).encode())
    for name in CONTENT:
        state.update(name.encode())
        feed(state, table.column(name).combine_chunks())
    return state.hexdigest()


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
