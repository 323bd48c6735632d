"""`coco`: COCO captions (images) by Karpathy's splits, from dataset_coco.json.

    DIR/dataset_coco.json   DIR/train2014/COCO_train2014_000000000009.jpg ...   DIR/val2014/...

Splits: `train` (113,287 images: Karpathy's train and restval together, as is usual), `val`, `test`; all by default.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vtr.data.annotations.karpathy import images
from vtr.data.annotations.official import Benchmark, Files, Split, read_official
from vtr.data.annotations.sample import ReaderOptions, Sample

JSON_NAMES = ("dataset_coco.json",)
PARTS = {"train": ("train", "restval"), "val": ("val",), "test": ("test",)}

BENCHMARK = Benchmark(
    name="coco",
    title="COCO",
    splits={
        "train": Split(JSON_NAMES, 113_287, 566_747),
        "val": Split(JSON_NAMES, 5_000, 25_010),
        "test": Split(JSON_NAMES, 5_000, 25_010),
    },
    default=("train", "val", "test"),
    suffix=".jpg",
)


def read(source: str, options: ReaderOptions) -> list[Sample]:
    """The samples of COCO in the folder, or the json file, `source`. Raises DataError as `read_official`."""
    return read_official(BENCHMARK, source, options, _samples)


def _samples(files: Files, split: str, path: Path) -> Iterator[Sample]:
    return images(files, split, path, PARTS[split])
