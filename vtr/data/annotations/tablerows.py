"""The rows of a table file, csv, tsv, jsonl or parquet, as plain values, each with the place where it stands."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from vtr import bounds, plainjson
from vtr.data import unfolding
from vtr.data.annotations import cells
from vtr.data.annotations.sample import JSON
from vtr.errors import DataError

NEEDED = ("video", "caption")
DEEPEST = 50  # lists and objects of a jsonl or parquet value, one in another
BOTTOM = 200  # which Python's own stack and that of its JSON bear

# ("line 3", {column: value}) of each row. Raises DataError: text that cannot be read, a header without what is needed.
Rows = Callable[[Path], Iterator[tuple[str, dict[str, Any]]]]


def _separated(delimiter: str) -> Rows:
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
    from vtr.data.index_file import DAMAGE

    try:
        _check_header(path, list(unfolding.schema_of(path).names))
        number = 0
        with unfolding.bounded(path):
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


ROWS: dict[str, Rows] = {
    ".csv": _separated(","),
    ".tsv": _separated("\t"),
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".parquet": _parquet,
}
