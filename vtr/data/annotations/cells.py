"""A csv or tsv file as text whose cells are bounded: an open quote makes the rest of a file one cell."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from vtr import bounds

LONGEST = 131_072  # characters of a cell; what the csv module has, unless it was told otherwise


@contextmanager
def opened(path: Path) -> Iterator[TextIO]:
    """The file at `path`, for readers of the csv module, which raise csv.Error at a longer cell; raises OSError."""
    before = csv.field_size_limit()
    csv.field_size_limit(max(before, bounds.at_most(LONGEST)))
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield file
    finally:
        csv.field_size_limit(before)


def hint(error: Exception, otherwise: str) -> str:
    """What to do about an error of the csv module: of a cell that is too long, else `otherwise`."""
    long = "field larger than" in str(error)
    return f"close its quotes; {bounds.HINT}; jsonl has no such limit" if long else otherwise
