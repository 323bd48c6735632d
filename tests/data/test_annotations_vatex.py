"""VATEX: the English captions."""

from __future__ import annotations

from pathlib import Path

import pytest
from official_helpers import brief, found, put, put_json, warnings

from vtr.data.annotations import ReaderOptions, read
from vtr.errors import DataError


def test_english_captions(tmp_path: Path) -> None:
    entry = {"videoID": "Ptf_2VRj-V0_000122_000132", "enCap": [f"caption {k}" for k in range(10)], "chCap": ["字幕"]}
    put_json(tmp_path / "vatex_training_v1.0.json", [entry])
    put_json(tmp_path / "vatex_public_test_english_v1.1.json", [{**entry, "videoID": "a-b_000001_000011"}])
    put(tmp_path, "train/Ptf_2VRj-V0_000122_000132.mp4")
    samples = read("vatex", str(tmp_path))
    assert brief(samples) == [
        ("Ptf_2VRj-V0_000122_000132", "train", tuple(entry["enCap"])),
        ("a-b_000001_000011", "test", tuple(entry["enCap"])),
    ]
    assert found(samples) == [True, False]
    assert [line.split(" is not")[0] for line in warnings("vatex", tmp_path)[:3]] == [
        "VATEX train", "VATEX val", "VATEX test",
    ]  # fmt: skip
    assert "0 videos (published: 3000) and 0 captions (published: 30000)" in warnings("vatex", tmp_path)[1]


def test_bad_files(tmp_path: Path) -> None:
    put_json(tmp_path / "vatex_validation_v1.0.json", [{"videoID": "x", "chCap": ["字幕"]}])
    with pytest.raises(DataError, match=r"v1\.0\.json \[0\] has no enCap \(list\); it has: videoID, chCap"):
        read("vatex", str(tmp_path), ReaderOptions(split="val"))
