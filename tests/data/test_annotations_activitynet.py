"""ActivityNet Captions: paragraphs in order of time."""

from __future__ import annotations

from pathlib import Path

import pytest
from official_helpers import brief, found, put, put_json, warnings

from vtr.data.annotations import ReaderOptions, read
from vtr.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    entry = {
        "duration": 82.73,
        "timestamps": [[60.81, 82.73], [0.83, 19.86], [17.37, 60.81]],
        "sentences": [" They end.  ", "A woman walks.", " She\nsits. "],
    }
    put_json(tmp_path / "captions" / "train.json", {"v_QOlSCBRmfWY": entry})
    one = {"duration": 5.0, "timestamps": [[0, 5]], "sentences": ["One."]}
    put_json(tmp_path / "captions" / "val_1.json", {"v_uqiMw7tQ1Cc": one, "v_bXdq2zI1Ms0": one})
    put(tmp_path, "v1-3/train_val/v_QOlSCBRmfWY.mkv", "uqiMw7tQ1Cc.mp4")
    return tmp_path


def test_paragraphs(folder: Path) -> None:
    samples = read("activitynet", str(folder))
    assert brief(samples) == [
        ("v_QOlSCBRmfWY", "train", ("A woman walks. She sits. They end.",)),
        ("v_uqiMw7tQ1Cc", "val_1", ("One.",)),
        ("v_bXdq2zI1Ms0", "val_1", ("One.",)),
    ]
    assert found(samples) == [True, True, False]
    assert [s.source for s in samples] == ["v1-3/train_val/v_QOlSCBRmfWY.mkv", "uqiMw7tQ1Cc.mp4", "v_bXdq2zI1Ms0.mp4"]
    assert warnings("activitynet", folder, split="val_1") == [
        "ActivityNet Captions val_1 is not the whole official set: the annotations have 2 videos (published: 4917)",
        "ActivityNet Captions: 1 of 2 media files are not there and will be skipped: v_bXdq2zI1Ms0.mp4",
    ]


def test_bad_files(folder: Path) -> None:
    for second in ([2], [[2], 3], [2, "3"], [2, float("nan")], [float("-inf"), 2], 3):
        put_json(folder / "val_2.json", {"v_a": {"timestamps": [[0, 1], second], "sentences": ["x", "y"]}})
        with pytest.raises(DataError, match=r"v_a has 2 timestamps for 2 sentences, not a pair of numbers for each"):
            read("activitynet", str(folder), ReaderOptions(split="val_2"))
    put_json(folder / "val_2.json", {"v_a": {"timestamps": [[0, 1]], "sentences": [3]}})
    with pytest.raises(DataError, match=r"v_a has something else than texts in sentences"):
        read("activitynet", str(folder), ReaderOptions(split="val_2"))
