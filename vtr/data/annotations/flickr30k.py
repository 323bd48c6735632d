"""`flickr30k`: Flickr30k (images, five captions each) by Karpathy's splits, from dataset_flickr30k.json.

    DIR/dataset_flickr30k.json   DIR/**/1000092795.jpg ...

Splits: `train` `val` `test`, all by default.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vtr.data.annotations.karpathy import images
from vtr.data.annotations.official import Benchmark, Files, Split, read_official
from vtr.data.annotations.sample import ReaderOptions, Sample

JSON_NAMES = ("dataset_flickr30k.json",)

BENCHMARK = Benchmark(
    name="flickr30k",
    title="Flickr30k",
    splits={
        "train": Split(JSON_NAMES, 29_000, 145_000),
        "val": Split(JSON_NAMES, 1_014, 5_070),
        "test": Split(JSON_NAMES, 1_000, 5_000),
    },
    default=("train", "val", "test"),
    suffix=".jpg",
)


def read(source: str, options: ReaderOptions) -> list[Sample]:
    """The samples of Flickr30k in the folder, or the json file, `source`. Raises DataError as `read_official`."""
    return read_official(BENCHMARK, source, options, _samples)


def _samples(files: Files, split: str, path: Path) -> Iterator[Sample]:
    return images(files, split, path, (split,))
