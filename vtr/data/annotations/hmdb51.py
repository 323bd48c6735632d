"""`hmdb51`: HMDB51 (51 classes of actions): the caption is the name of the class, in words.

    DIR/testTrainMulti_7030_splits/brush_hair_test_split1.txt ...   DIR/**/brush_hair/<video>.avi ...

Splits: `train1` `test1` (by default) up to `train3` `test3`; `1` `2` `3` are both halves of one. brush_hair becomes
"brush hair"; the metadata have `class` and `label`, which counts from 0 in alphabetical order. Each split leaves 1666
of the 6766 clips out.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vtr.data.annotations.media import bare
from vtr.data.annotations.official import FOLDERS, HELP, Benchmark, Files, Split, lines, read_official
from vtr.data.annotations.sample import ReaderOptions, Sample
from vtr.errors import DataError

CLASSES = 51
MARKS = {"0": "", "1": "train", "2": "test"}  # after each clip's name; 0: not in this split

BENCHMARK = Benchmark(
    name="hmdb51",
    title="HMDB51",
    splits={
        f"{part}{n}": Split((f"*_test_split{n}.txt",), count)
        for n in (1, 2, 3)
        for part, count in (("train", CLASSES * 70), ("test", CLASSES * 30))
    },
    default=("train1", "test1"),
    groups={str(n): (f"train{n}", f"test{n}") for n in (1, 2, 3)},
    folders=(*FOLDERS, "testTrainMulti_7030_splits", "splits", "test_train_splits/testTrainMulti_7030_splits"),
    suffix=".avi",
)


def read(source: str, options: ReaderOptions) -> list[Sample]:
    """The samples of HMDB51 in the folder `source`, or beside the list, `source`. Raises as `read_official`."""
    return read_official(BENCHMARK, source, options, _samples)


def _samples(files: Files, split: str, path: Path) -> Iterator[Sample]:
    end = f"_test_split{split[-1]}.txt"
    for label, of in enumerate(sorted(each.name.removesuffix(end) for each in path.parent.glob(f"*{end}"))):
        for where, line in lines(path.with_name(of + end)):
            file, _, mark = line.strip().rpartition(" ")
            if mark not in MARKS or not file:
                raise DataError(f"{where} is {line.strip()!r}: after the clip should be 0, 1 or 2", HELP)
            if MARKS[mark] != split[:-1]:
                continue
            yield files.sample(
                split,
                file.strip(),
                [of.replace("_", " ")],
                folder=of,
                key=f"{of}/{bare(file.strip())}",
                meta={"class": of, "label": label},
            )
