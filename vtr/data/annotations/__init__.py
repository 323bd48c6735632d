"""Annotation readers by name: each turns a SOURCE into samples in a stable order, and reads no video."""

from __future__ import annotations

from vtr.data.annotations import folder, table
from vtr.data.annotations.sample import JSON, Reader, ReaderOptions, Sample, make_key
from vtr.errors import InputError

__all__ = ["JSON", "READERS", "Reader", "ReaderOptions", "Sample", "describe", "make_key", "read"]

READERS: dict[str, Reader] = {
    "table": table.read,
    "folder": folder.read,
}


def read(reader: str, source: str, options: ReaderOptions | None = None) -> list[Sample]:
    """The samples that `reader` finds in `source`.

    Raises InputError for a reader that does not exist, and DataError for whatever the reader finds wrong.
    """
    if reader not in READERS:
        raise InputError(f"there is no reader {reader!r}", f"the readers are: {', '.join(READERS)}")
    return READERS[reader](source, options or ReaderOptions())


def describe(reader: str) -> str:
    """What `reader` takes, as its module says it: the text of the docs and of `--help`."""
    import sys

    return (sys.modules[READERS[reader].__module__].__doc__ or "").strip()
