"""`ucf101`: UCF101 (101 classes of actions): the caption is the name of the class, in words.

    DIR/ucfTrainTestlist/classInd.txt  trainlist01.txt  testlist01.txt ...   DIR/**/v_ApplyEyeMakeup_g08_c01.avi ...

Splits: `train1` `test1` (by default) up to `train3` `test3`; `1` `2` `3` are both halves of one. ApplyEyeMakeup becomes
"apply eye makeup"; the metadata have `class` and `label`, which counts from 0 in the order of classInd.txt.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from vtr.data.annotations.official import FOLDERS, Benchmark, Files, Split, lines, read_official
from vtr.data.annotations.sample import ReaderOptions, Sample
from vtr.errors import DataError

COUNTS = {"1": (9_537, 3_783), "2": (9_586, 3_734), "3": (9_624, 3_696)}

BENCHMARK = Benchmark(
    name="ucf101",
    title="UCF101",
    splits={
        f"{part}{n}": Split((f"{part}list0{n}.txt",), counts[half])
        for n, counts in COUNTS.items()
        for half, part in enumerate(("train", "test"))
    },
    default=("train1", "test1"),
    groups={n: (f"train{n}", f"test{n}") for n in COUNTS},
    folders=(*FOLDERS, "ucfTrainTestlist", "UCF101TrainTestSplits-RecognitionTask/ucfTrainTestlist"),
    suffix=".avi",
)


def read(source: str, options: ReaderOptions) -> list[Sample]:
    """The samples of UCF101 in the folder, or the list file, `source`. Raises DataError as `read_official`."""
    return read_official(BENCHMARK, source, options, _samples)


def _samples(files: Files, split: str, path: Path) -> Iterator[Sample]:
    classes = dict(_classes(files.need("every split", "classInd.txt")))
    # Copies of the lists differ in HandstandPushups and HandStandPushups.
    known = {name.lower(): name for name in classes}
    for where, line in lines(path):
        file = line.split()[0]
        folder, _, name = file.rpartition("/")
        if folder.lower() not in known:
            raise DataError(
                f"{where} names {file!r}, of no class in classInd.txt", "each line should be: class/video.avi"
            )
        of = known[folder.lower()]
        words = " ".join(re.findall(r"[A-Z]?[a-z]+|[A-Z]+|\d+", of)).lower()
        yield files.sample(split, name, [words], folder=folder, meta={"class": of, "label": classes[of]})


def _classes(path: Path) -> Iterator[tuple[str, int]]:
    for where, line in lines(path):
        number, _, name = line.strip().partition(" ")
        if not re.fullmatch("[0-9]{1,18}", number) or not name:
            raise DataError(f"{where} is {line.strip()!r}", "each line should be: number, a space, class")
        yield name.strip(), int(number) - 1
