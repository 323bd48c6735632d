"""`activitynet`: ActivityNet Captions as paragraph retrieval: a video's sentences in order of time are its one caption.

    DIR/train.json   DIR/val_1.json   DIR/val_2.json   DIR/**/v_QOlSCBRmfWY.mp4 ...

Splits: `train` `val_1` (4917 videos, what retrieval is tested on), both by default, and `val_2` (other captions of 4885
of the same videos). Files may be called by the identifier alone, without `v_`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vtr.data.annotations.official import (
    FOLDERS,
    HELP,
    Benchmark,
    Files,
    Split,
    get,
    paragraph,
    read_official,
    strings,
)
from vtr.data.annotations.sample import ReaderOptions, Sample
from vtr.errors import DataError

BENCHMARK = Benchmark(
    name="activitynet",
    title="ActivityNet Captions",
    splits={
        "train": Split(("train.json",), 10_009),
        "val_1": Split(("val_1.json",), 4_917),
        "val_2": Split(("val_2.json",), 4_885),
    },
    default=("train", "val_1"),
    folders=(*FOLDERS, "captions"),
)


def read(source: str, options: ReaderOptions) -> list[Sample]:
    """The samples of ActivityNet Captions in the folder, or the json, `source`. Raises DataError as `read_official`."""
    return read_official(BENCHMARK, source, options, _samples)


def _samples(files: Files, split: str, path: Path) -> Iterator[Sample]:
    for video, entry in files.json(path, dict).items():
        where = f"{path} {video}"
        sentences = strings(entry, "sentences", where)
        times: list[Any] = get(entry, "timestamps", list, where)
        if len(times) != len(sentences) or not all(_is_span(t) for t in times):
            raise DataError(
                f"{where} has {len(times)} timestamps for {len(sentences)} sentences, not a pair of numbers for each",
                HELP,
            )
        short = video.removeprefix("v_")
        name = short if files.media.has(short) and not files.media.has(video) else video
        text = paragraph(zip(times, sentences, strict=True))
        yield files.sample(split, name, [text], key=video, meta={"sentences": len(sentences)})


def _is_span(value: Any) -> bool:
    """A list of two numbers, neither of them NaN or endless."""
    return isinstance(value, list) and [isinstance(x, (int, float)) and abs(x) < math.inf for x in value] == [True] * 2
