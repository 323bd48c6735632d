"""`didemo`: DiDeMo as paragraph retrieval: a video's sentences, in the order of their moments, are its one caption.

    DIR/train_data.json   DIR/val_data.json   DIR/test_data.json   DIR/**/12090392@N02_13482799053_87ef417396.mov ...

Splits: `train` `val` `test`, all by default. A moment's time is the one that most of its annotators gave, the earliest
where they tie. The test file names 1037 files which are 1004 videos: 33 stand in it once more under another suffix.
Here they are one each; papers that report 1003 (one less) or 1036 (the names, one less) used other lists.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vtr.data.annotations.media import bare
from vtr.data.annotations.official import (
    FOLDERS,
    HELP,
    Benchmark,
    Files,
    Split,
    get,
    paragraph,
    read_official,
)
from vtr.data.annotations.sample import ReaderOptions, Sample
from vtr.errors import DataError

BENCHMARK = Benchmark(
    name="didemo",
    title="DiDeMo",
    splits={
        "train": Split(("train_data.json",), 8395),
        "val": Split(("val_data.json",), 1065),
        "test": Split(("test_data.json",), 1004),
    },
    default=("train", "val", "test"),
    folders=(*FOLDERS, "data"),
)


def read(source: str, options: ReaderOptions) -> list[Sample]:
    """The samples of DiDeMo in the folder, or the json file, `source`. Raises DataError as `read_official`."""
    return read_official(BENCHMARK, source, options, _samples)


def _samples(files: Files, split: str, path: Path) -> Iterator[Sample]:
    moments: dict[str, list[tuple[tuple[int, int], str]]] = {}
    names: dict[str, list[str]] = {}
    for n, entry in enumerate(files.json(path, list)):
        where = f"{path} [{n}]"
        name = get(entry, "video", str, where)
        moment = _moment(get(entry, "times", list, where), where)
        moments.setdefault(bare(name), []).append((moment, get(entry, "description", str, where)))
        names.setdefault(bare(name), []).append(name)
    for video, described in moments.items():
        # The official download script saves `x.mov` as `x.mov.mp4`: the name that comes first in the file is taken.
        prefer = [form for name in names[video] for form in (name, f"{name}.mp4")]
        yield files.sample(split, video, [paragraph(described)], prefer=prefer, meta={"sentences": len(described)})


def _moment(times: list[Any], where: str) -> tuple[int, int]:
    """(first, last) of the segments that most annotators chose, the earliest of equals."""
    try:
        votes = Counter((int(first), int(last)) for first, last in times)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{where} has times {times}, not pairs of segments", HELP) from error
    if not votes:
        raise DataError(f"{where} has no times", HELP)
    return min(votes, key=lambda moment: (-votes[moment], moment))
