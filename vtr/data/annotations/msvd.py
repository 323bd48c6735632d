"""`msvd`: MSVD (the Microsoft Video Description Corpus), from AllVideoDescriptions.txt and three lists of videos.

    DIR/AllVideoDescriptions.txt   DIR/train_list.txt  DIR/val_list.txt  DIR/test_list.txt
    DIR/**/mv89psg6zh4_33_46.avi ...

Splits: `train` `val` `test`, all by default. About 40 English captions a video, of which none is left out. In place of
the lists, youtube_mapping.txt (`mv89psg6zh4_33_46 vid1`) will do: its first 1200 videos are train, then 100 val.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from vtr.data.annotations.official import FOLDERS, Benchmark, Files, Split, lines, read_official
from vtr.data.annotations.sample import ReaderOptions, Sample
from vtr.errors import DataError

DESCRIPTIONS = ("AllVideoDescriptions.txt",)
MAPPING = "youtube_mapping.txt"
PARTS = {"train": range(1, 1201), "val": range(1201, 1301), "test": range(1301, 1971)}

BENCHMARK = Benchmark(
    name="msvd",
    title="MSVD",
    splits={split: Split(DESCRIPTIONS, len(part)) for split, part in PARTS.items()},
    default=("train", "val", "test"),
    folders=(*FOLDERS, "msvd_data"),
    suffix=".avi",
)


def read(source: str, options: ReaderOptions) -> list[Sample]:
    """The samples of MSVD in the folder, or beside the descriptions, `source`. Raises DataError as `read_official`."""
    return read_official(BENCHMARK, source, options, _samples)


def _samples(files: Files, split: str, path: Path) -> Iterator[Sample]:
    captions: dict[str, list[str]] = {}
    for where, line in lines(path):
        if line.startswith("#"):  # the licence stands above the captions
            continue
        name, _, caption = line.strip().partition(" ")
        if not caption:
            raise DataError(f"{where} has no caption after {name!r}", "each line should be: video, a space, a caption")
        captions.setdefault(name, []).append(caption)
    for name in _names(files, split):
        if name not in captions:
            raise DataError(f"{path} has no caption of {name}, which is in split {split}", "download it again")
        yield files.sample(split, name, captions[name])


def _names(files: Files, split: str) -> list[str]:
    path = files.find(f"{split}_list.txt")
    if path is not None:
        return [text.strip() for _, text in lines(path)]
    names: dict[int, str] = {}
    path = files.need(f"split {split}", f"{split}_list.txt", MAPPING)
    for where, line in lines(path):
        name, _, number = line.strip().partition(" ")
        if not re.fullmatch("vid[0-9]{1,18}", number):
            raise DataError(f"{where} is {line.strip()!r}", "each line should be: video, a space, vid and its number")
        names[int(number[3:])] = name
    return [names[number] for number in PARTS[split] if number in names]
