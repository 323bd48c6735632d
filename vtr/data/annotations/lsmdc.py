r"""`lsmdc`: LSMDC 2016 (movie clips), from its tab-separated csv files without a header.

    DIR/LSMDC16_annos_training.csv   DIR/LSMDC16_annos_val.csv   DIR/LSMDC16_challenge_1000_publictect.csv
    DIR/**/0001_American_Beauty_00.00.51.926-00.00.54.129.avi ...

Splits: `train` `val` `test` (the 1000 clips that retrieval is tested on), all by default, and `public-test`
(LSMDC16_annos_test.csv). A clip with several sentences is one sample with several captions.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vtr.data.annotations.official import FOLDERS, Benchmark, Files, Split, lines, read_official
from vtr.data.annotations.sample import ReaderOptions, Sample
from vtr.errors import DataError

BENCHMARK = Benchmark(
    name="lsmdc",
    title="LSMDC",
    splits={
        "train": Split(("LSMDC16_annos_training.csv",), captions=101_079),
        "val": Split(("LSMDC16_annos_val.csv",), captions=7_408),
        "test": Split(("LSMDC16_challenge_1000_publictect.csv", "LSMDC16_challenge_1000_publictest.csv"), 1000, 1000),
        "public-test": Split(("LSMDC16_annos_test.csv",), captions=10_053),
    },
    default=("train", "val", "test"),
    folders=(*FOLDERS, "LSMDC16"),
    suffix=".avi",
)


def read(source: str, options: ReaderOptions) -> list[Sample]:
    """The samples of LSMDC in the folder, or the csv, `source`. Raises DataError as `read_official`."""
    return read_official(BENCHMARK, source, options, _samples)


def _samples(files: Files, split: str, path: Path) -> Iterator[Sample]:
    clips: dict[str, list[str]] = {}
    for where, line in lines(path):
        fields = line.split("\t")
        if len(fields) != 6:
            raise DataError(
                f"{where} has {len(fields)} fields, not 6",
                "they are: clip, start, end, start extracted, end extracted, sentence, with a tab between",
            )
        clips.setdefault(fields[0].strip(), []).append(fields[5])
    for clip, sentences in clips.items():
        # Clips lie in a folder for each movie: the clip's name without its times.
        yield files.sample(split, clip, sentences, folder=clip.rpartition("_")[0])
