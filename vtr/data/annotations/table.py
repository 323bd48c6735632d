"""`table`: a csv, tsv, jsonl or parquet file with a `video` and a `caption` column, one row a caption.

    video,caption,split
    run.mp4,a dog runs over grass,train
    run.mp4,a brown dog running,train

Rows of one video gather on one sample, in order. A caption may be a list of captions in jsonl and parquet. Optional
columns: `key` (names the sample; without it the key is the video's path) and `split` (empty: train). Without a column
`split` all are train, or what `--split` calls them, which is said. All others are kept as metadata: one value where all
rows of a video agree, else the list of the rows' values. Relative video paths start at the table's own folder, or at
`--root`; none leads out of it.
"""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vtr import bounds, plainjson
from vtr.data import unfolding
from vtr.data.annotations import cells
from vtr.data.annotations.sample import (
    JSON,
    ReaderOptions,
    Sample,
    below,
    make_key,
    refuse_duplicates,
    refuse_links_out,
    select,
)
from vtr.errors import DataError

NEEDED = ("video", "caption")
RESERVED = (*NEEDED, "key", "split")
MEANT = frozenset(("set", "subset", "partition", "fold"))  # what else a column of splits may be called
DEEPEST = 50  # lists and objects of a jsonl or parquet value, one in another
SPREAD, SPREAD_TIMES = 10_000_000, 10  # values of metadata of a table in all, or times those that stand in it
BOTTOM = 200  # which Python's own stack and that of its JSON bear


@dataclass(slots=True)
class _Group:
    """The rows of one sample, as they come in."""

    video: str
    first_row: str
    key: str | None
    split: str
    captions: list[str] = field(default_factory=list)
    meta: list[dict[str, JSON]] = field(default_factory=list)


def read(source: str, options: ReaderOptions) -> list[Sample]:
    """The samples of the table at path `source`, in the order in which their videos first appear.

    Raises DataError: no such file, an unknown suffix, text that cannot be read, a missing column, an empty table, an
    empty caption, a row with another number of fields, two splits for one video, one key for two videos; a split that
    is asked for, where another column than `split` seems to name them.
    """
    path = Path(source)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        hint = "for a folder of videos with .txt captions use the folder reader" if path.is_dir() else "check the path"
        raise DataError(f"{source} {what}; the table reader wants a {_suffixes()} file", hint)
    rows = ROWS.get(path.suffix.lower())
    if rows is None:
        raise DataError(f"{source} is no table that vtr reads", f"its name should end in {_suffixes()}")
    groups: dict[str, _Group] = {}
    columns: set[str] = set()
    for where, row in rows(path):
        columns.update(row)
        _gather(groups, row, f"{source} {where}")
        options.count(len(groups))
    if not groups:
        raise DataError(f"{source} is empty: it has no rows", "a table needs one row a caption")
    if "split" not in columns:
        _label(groups, columns, source, options)
    root = options.root if options.root is not None else path.parent
    _check_spread(groups, source)
    samples = [_sample(group, root) for group in groups.values()]
    if options.root is None:  # a table comes with the folder around it, --root is the user's own word
        relative = [group for group in groups.values() if not Path(group.video).is_absolute()]
        refuse_links_out(root, (root / group.video for group in relative))
    refuse_duplicates(samples, source, "rename one of them, or give every video its own name in a `key` column")
    return select(samples, options, source)


def _label(groups: dict[str, _Group], columns: set[str], source: str, options: ReaderOptions) -> None:
    """Of a table that names no split: all samples are of the one that is asked for.

    Raises DataError where another column may name them: then each split that is asked for would be the whole table.
    """
    meant = sorted(name for name in columns if "split" in name.lower() or name.strip().lower() in MEANT)
    if options.split is None:
        if meant:
            options.announce(f"{source} has no column 'split', but {meant[0]!r}: all its videos are taken as train")
        return
    if meant:
        raise DataError(
            f"{source} has no column 'split' to take {options.split!r} from, but one named {meant[0]!r}",
            f"rename it to 'split' if it says which split a video is of; if not, give it a name without that word, and "
            f"all videos are taken as {options.split}; without --split they are taken as train",
        )
    for group in groups.values():
        group.split = options.split
    options.announce(f"{source} has no column 'split': all its videos are taken as {options.split}")


def _check_spread(groups: dict[str, _Group], source: str) -> None:
    """Raises DataError where a list of a value a row, for each column, would hold far more than the table does."""
    given = sum(len(meta) for group in groups.values() for meta in group.meta)
    most, made = bounds.at_most(max(SPREAD, SPREAD_TIMES * given)), 0
    for group in groups.values():
        if len(group.meta) > 1:
            made += len(group.meta) * len({name for meta in group.meta for name in meta})
        if made > most:
            raise DataError(
                f"{source} has {given} values of metadata, and with one for each row and column of a video there would "
                f"be more than {most}: rows of {group.video!r} have columns of their own",
                f"give all rows of a video the same columns; {bounds.HINT}",
            )


def _gather(groups: dict[str, _Group], row: dict[str, Any], where: str) -> None:
    for name in NEEDED:
        if name not in row:
            found = ", ".join(map(str, row)) or "none"
            raise DataError(f"{where} has no column {name!r}; its columns are: {found}", f"name it {name!r}")
    video = str(row["video"] or "").strip()
    if not video:
        raise DataError(f"{where} has an empty video", "give the path of a file, or remove the row")
    if "\0" in video:
        raise DataError(f"{where} has a NUL byte in its video", "give the path of a file")
    if not plainjson.is_unicode(video, str(row.get("key") or ""), str(row.get("split") or "")):
        raise DataError(f"{where} has half a surrogate pair in its video, key or split", "write valid Unicode")
    key = None if row.get("key") in (None, "") else str(row["key"]).strip()
    split = str(row.get("split") or "").strip() or "train"
    # With a key column the key says which rows belong together, so one video may stand under two keys.
    group = groups.setdefault(
        f"video:{os.path.normpath(video)}" if key is None else f"key:{key}", _Group(video, where, key, split)
    )
    if os.path.normpath(group.video) != os.path.normpath(video):
        raise DataError(
            f"{where} gives the key {key!r} to {video!r}, but {group.first_row} gave it to {group.video!r}",
            "a key names one video",
        )
    if group.split != split:
        raise DataError(
            f"{where} puts {video!r} into split {split!r}, but {group.first_row} put it into {group.split!r}",
            "a video belongs to one split",
        )
    group.captions += _captions(row["caption"], where)
    group.meta.append({str(name): value for name, value in row.items() if name not in RESERVED})


def _captions(value: Any, where: str) -> list[str]:
    values = value if isinstance(value, list) else [value]
    captions = [caption.strip() if isinstance(caption, str) else "" for caption in values]
    if not captions or not all(captions):
        raise DataError(f"{where} has an empty caption", "write one, or remove the row")
    if not plainjson.is_unicode(*captions):
        raise DataError(f"{where} has half a surrogate pair in its caption", "write the caption as valid Unicode")
    return captions


def _sample(group: _Group, root: Path) -> Sample:
    path = Path(group.video)
    if not path.is_absolute():
        path = below(root, group.video, group.first_row)
    inside = path.relative_to(root) if path.is_relative_to(root) else path
    names = {name: None for meta in group.meta for name in meta}
    values = {name: [meta.get(name) for meta in group.meta] for name in names}
    meta: dict[str, JSON] = {
        name: rows[0] if all(value == rows[0] for value in rows) else rows for name, rows in values.items()
    }
    key = make_key(inside.with_suffix("")) if group.key is None else make_key(group.key)
    if group.key is not None and key != group.key:
        meta.setdefault("key", group.key)
    return Sample(key, path, tuple(group.captions), group.split, meta, group.video)


def _separated(delimiter: str) -> Callable[[Path], Iterator[tuple[str, dict[str, Any]]]]:
    def rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
        try:
            with cells.opened(path) as file:
                reader = csv.reader(file, delimiter=delimiter, strict=True)
                header = [name.strip() for name in next(reader, [])]
                _check_header(path, header)
                for row in reader:
                    if not row:
                        continue
                    if len(row) != len(header):
                        raise DataError(
                            f"{path} line {reader.line_num} has {len(row)} fields, the header has {len(header)}",
                            'a caption with a comma, a tab or a line break stands in "quotes"',
                        )
                    yield f"line {reader.line_num}", dict(zip(header, row, strict=True))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            hint = cells.hint(error, "save it as UTF-8 csv or tsv")
            raise DataError(f"{path} cannot be read as a table: {error}", hint) from error

    return rows


def _check_header(path: Path, header: list[str]) -> None:
    if not any(header):
        raise DataError(f"{path} is empty: it has no header", "its first line should name the columns")
    missing = [name for name in NEEDED if name not in header]
    if missing:
        raise DataError(
            f"{path} has no column {' and no column '.join(map(repr, missing))}; its columns are: {', '.join(header)}",
            "name them 'video' and 'caption' in the first line",
        )
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise DataError(f"{path} has two columns {twice[0]!r}", "rename one of them")


def _json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    row = plainjson.loads(line)
                    if not isinstance(row, dict):
                        raise DataError(
                            f"{path} line {number} is no object", 'write one {"video": ..., "caption": ...} a line'
                        )
                    yield f"line {number}", {name: _plain(value) for name, value in row.items()}
    except json.JSONDecodeError as error:
        raise DataError(f"{path} line {number} is not JSON: {error}", "write one JSON object a line") from error
    except ValueError as error:
        if isinstance(error, UnicodeDecodeError):
            raise _not_utf8(path, error) from error
        raise DataError(f"{path} line {number} has a value of no sane size: {error}", "mend that line") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}", "see that you may read it") from error


def _not_utf8(path: Path, error: UnicodeDecodeError) -> DataError:
    return DataError(f"{path} is not UTF-8 text (byte {error.start})", "save it as UTF-8")


def _parquet(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    import pyarrow.parquet as pq

    from vtr.data.index_file import DAMAGE

    try:
        _check_header(path, list(pq.read_schema(path).names))
        number = 0
        for batch in unfolding.batches(path):
            for row in batch.to_pylist():
                number += 1
                yield f"row {number}", {name: _plain(value) for name, value in row.items()}
    except DAMAGE as error:  # a date or a time may be one that Python has not
        # What pyarrow says of a timezone that is not known, though the module is there.
        why = "a column has a timezone that is not known here" if "zoneinfo module" in str(error) else error
        raise DataError(f"{path} cannot be read as parquet: {why}", "write it anew with pyarrow or pandas") from error


def _plain(value: Any, depth: int = 0) -> JSON:
    """A value as strict JSON; dates and decimals become strings. Raises ValueError for one that is nested too deep."""
    if depth > DEEPEST and depth > (most := min(BOTTOM, bounds.at_most(DEEPEST))):
        more = "" if most == BOTTOM else f" ({bounds.HINT})"
        raise ValueError(f"a value is nested more than {most} deep{more}")
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None  # JSON has no NaN
    if isinstance(value, list):
        return [_plain(item, depth + 1) for item in value]
    if isinstance(value, dict):
        return {str(name): _plain(item, depth + 1) for name, item in value.items()}
    return value.hex() if isinstance(value, bytes) else str(value)


ROWS: dict[str, Callable[[Path], Iterator[tuple[str, dict[str, Any]]]]] = {
    ".csv": _separated(","),
    ".tsv": _separated("\t"),
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".parquet": _parquet,
}


def _suffixes() -> str:
    return " ".join(ROWS)
