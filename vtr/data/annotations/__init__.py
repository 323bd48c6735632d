"""Annotation readers by name: each turns a SOURCE into samples in a stable order, and reads no video."""

from __future__ import annotations

from collections.abc import Sequence

from vtr.data.annotations import (
    activitynet,
    cc3m,
    census,
    coco,
    didemo,
    flickr30k,
    folder,
    hmdb51,
    lsmdc,
    msrvtt,
    msvd,
    synthetic,
    table,
    ucf101,
    vatex,
    webvid,
)
from vtr.data.annotations.census import Census
from vtr.data.annotations.official import Benchmark, Split
from vtr.data.annotations.sample import JSON, Reader, ReaderOptions, Sample, make_key
from vtr.errors import InputError

__all__ = [
    "BENCHMARKS",
    "JSON",
    "READERS",
    "Benchmark",
    "Census",
    "Reader",
    "ReaderOptions",
    "Sample",
    "Split",
    "describe",
    "make_key",
    "official_count",
    "read",
    "take_census",
]

_OFFICIAL = (msrvtt, msvd, lsmdc, didemo, activitynet, vatex, webvid, cc3m, coco, flickr30k, ucf101, hmdb51)
READERS: dict[str, Reader] = {
    "table": table.read,
    "folder": folder.read,
    "synthetic": synthetic.read,
    **{module.BENCHMARK.name: module.read for module in _OFFICIAL},
}
BENCHMARKS: dict[str, Benchmark] = {module.BENCHMARK.name: module.BENCHMARK for module in _OFFICIAL}


def read(reader: str, source: str, options: ReaderOptions | None = None) -> list[Sample]:
    """The samples that `reader` finds in `source`.

    Raises InputError for a reader that does not exist, and DataError for whatever the reader finds wrong.
    """
    if reader not in READERS:
        raise InputError(f"there is no reader {reader!r}", f"the readers are: {', '.join(READERS)}")
    return READERS[reader](source, options or ReaderOptions())


def official_count(reader: str, split: str) -> Split | None:
    """The published size of a split, `videos` and `captions`; None where `reader` has no such split."""
    benchmark = BENCHMARKS.get(reader)
    return None if benchmark is None else benchmark.splits.get(split)


def take_census(reader: str, source: str, options: ReaderOptions, samples: Sequence[Sample]) -> Census:
    """What `read` found, beside what is published and what is on the disk: `warnings()` to say, `record()` to keep."""
    return census.count(BENCHMARKS.get(reader), reader, source, options, samples)


def describe(reader: str) -> str:
    """What `reader` takes, as its module says it: the text of the docs and of `--help`."""
    import sys

    return (sys.modules[READERS[reader].__module__].__doc__ or "").strip()
