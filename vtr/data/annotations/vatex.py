"""`vatex`: VATEX, the English captions (`enCap`, ten a video) of its json files.

    DIR/vatex_training_v1.0.json   DIR/vatex_validation_v1.0.json   DIR/vatex_public_test_english_v1.1.json
    DIR/**/Ptf_2VRj-V0_000122_000132.mp4 ...

Splits: `train` `val` `test` (the public test set), all by default.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vtr.data.annotations.official import Benchmark, Files, Split, get, read_official, strings
from vtr.data.annotations.sample import ReaderOptions, Sample

BENCHMARK = Benchmark(
    name="vatex",
    title="VATEX",
    splits={
        "train": Split(("vatex_training_v1.0.json",), 25_991, 259_910),
        "val": Split(("vatex_validation_v1.0.json",), 3_000, 30_000),
        "test": Split(("vatex_public_test_english_v1.1.json",), 6_000, 60_000),
    },
    default=("train", "val", "test"),
)


def read(source: str, options: ReaderOptions) -> list[Sample]:
    """The samples of VATEX in the folder, or the json file, `source`. Raises DataError as `read_official`."""
    return read_official(BENCHMARK, source, options, _samples)


def _samples(files: Files, split: str, path: Path) -> Iterator[Sample]:
    for n, entry in enumerate(files.json(path, list)):
        where = f"{path} [{n}]"
        yield files.sample(split, get(entry, "videoID", str, where), strings(entry, "enCap", where))
