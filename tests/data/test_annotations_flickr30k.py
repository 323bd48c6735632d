"""Flickr30k by Karpathy's splits."""

from __future__ import annotations

from pathlib import Path

from official_helpers import brief, found, put, put_json, warnings

from vtr.data.annotations import ReaderOptions, read


def test_images_and_splits(tmp_path: Path) -> None:
    images = [
        {
            "sentids": [0],
            "imgid": n,
            "sentences": [{"raw": f"Picture {n}.", "sentid": 0}],
            "split": split,
            "filename": name,
        }
        for n, (split, name) in enumerate((("train", "1000092795.jpg"), ("test", "1007129816.jpg")))
    ]
    put_json(tmp_path / "dataset_flickr30k.json", {"images": images, "dataset": "flickr30k"})
    put(tmp_path, "flickr30k-images/1000092795.jpg")
    samples = read("flickr30k", str(tmp_path))
    assert brief(samples) == [
        ("1000092795", "train", ("Picture 0.",)),
        ("1007129816", "test", ("Picture 1.",)),
    ]
    assert found(samples) == [True, False]
    assert [
        s.key for s in read("flickr30k", str(tmp_path / "dataset_flickr30k.json"), ReaderOptions(split="test"))
    ] == ["1007129816"]
    assert warnings("flickr30k", tmp_path, split="test") == [
        "Flickr30k test is not the whole official set: the annotations have 1 videos (published: 1000) and "
        "1 captions (published: 5000)",
        "Flickr30k: 1 of 1 media files are not there and will be skipped: 1007129816.jpg",
    ]
