"""COCO by Karpathy's splits: images, sharded for real."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from official_helpers import brief, found, put_json, warnings
from PIL import Image

from vtr.data import stored
from vtr.data.annotations import ReaderOptions, read
from vtr.data.index import ShardIndex
from vtr.data.shards import write_shards
from vtr.errors import DataError


def image(n: int, split: str, folder: str = "val2014") -> dict[str, Any]:
    return {
        "filepath": folder, "sentids": [n], "filename": f"COCO_{folder}_{n:012}.jpg", "imgid": n, "split": split,
        "sentences": [{"tokens": ["x"], "raw": f"Image {n}, sentence {k}.", "imgid": n, "sentid": k} for k in range(5)],
        "cocoid": n,
    }  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    images = [image(1, "test"), image(2, "restval"), image(3, "val"), image(4, "train", "train2014")]
    put_json(tmp_path / "annotations" / "dataset_coco.json", {"images": images, "dataset": "coco"})
    for part, n in (("val2014", 1), ("val2014", 2), ("val2014", 3)):
        (tmp_path / part).mkdir(exist_ok=True)
        Image.new("RGB", (64, 48), (0, 50 * n, 0)).save(tmp_path / part / f"COCO_{part}_{n:012}.jpg")
    return tmp_path


def test_restval_is_trained_on(folder: Path) -> None:
    samples = read("coco", str(folder))
    texts = [tuple(f"Image {n}, sentence {k}." for k in range(5)) for n in range(5)]
    assert brief(samples) == [
        ("COCO_val2014_000000000002", "train", texts[2]),
        ("COCO_train2014_000000000004", "train", texts[4]),
        ("COCO_val2014_000000000003", "val", texts[3]),
        ("COCO_val2014_000000000001", "test", texts[1]),
    ]
    assert [sample.meta["official_split"] for sample in samples] == ["restval", "train", "val", "test"]
    assert found(samples) == [True, False, True, True]
    assert samples[1].source == "train2014/COCO_train2014_000000000004.jpg"
    assert "published: 113287" in warnings("coco", folder)[0]


def test_images_become_clips_of_one_frame(folder: Path) -> None:
    samples = read("coco", str(folder), ReaderOptions(split="test"))
    write_shards(samples, folder / "out", reader="coco", source=str(folder), workers=1)
    index = ShardIndex.open(folder / "out")
    assert (index.info(0).frames, index.info(0).decoder, index.info(0).split) == (1, "image", "test")
    frames = stored.read_frames(index, 0, [0, 0])
    assert frames.shape == (2, 48, 64, 3)
    assert np.abs(frames[0, 0, 0].astype(int) - [0, 50, 0]).max() < 5


def test_bad_files(folder: Path) -> None:
    broken = {**image(1, "test"), "sentences": [{"tokens": ["x"]}]}
    put_json(folder / "annotations" / "dataset_coco.json", {"images": [broken]})
    with pytest.raises(DataError, match=r"images\[0\] has no raw \(str\); it has: tokens"):
        read("coco", str(folder))
    put_json(folder / "annotations" / "dataset_coco.json", {"images": 5, "dataset": "coco"})
    with pytest.raises(DataError, match=r"has no images \(list\); it has: images \(int\), dataset"):
        read("coco", str(folder))
