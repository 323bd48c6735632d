"""HMDB51: one list for each class and split, and marks after the names."""

from __future__ import annotations

from pathlib import Path

import pytest
from official_helpers import brief, found, put, put_text, warnings

from vtr.data.annotations import ReaderOptions, read
from vtr.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    lists = tmp_path / "testTrainMulti_7030_splits"
    lists.mkdir()
    put_text(lists, **{"wave_test_split1.txt": "a_wave_u_cm.avi 2 \na b_wave.avi 0 \n"})
    put_text(lists, **{"brush_hair_test_split1.txt": "a_brush_hair_u_cm.avi 1 \nsame.avi 2 \n"})
    put_text(lists, **{"wave_test_split2.txt": "a b_wave.avi 1 \n"})
    put(tmp_path, "brush_hair/a_brush_hair_u_cm.avi", "brush_hair/same.avi", "wave/same.avi", "wave/a b_wave.avi")
    return tmp_path


def test_classes_as_captions(folder: Path) -> None:
    samples = read("hmdb51", str(folder))
    assert brief(samples) == [
        ("brush_hair_a_brush_hair_u_cm", "train1", ("brush hair",)),
        ("brush_hair_same", "test1", ("brush hair",)),
        ("wave_a_wave_u_cm", "test1", ("wave",)),
    ]
    assert samples[2].meta == {"class": "wave", "label": 1}
    assert found(samples) == [True, True, False]
    assert samples[1].source == "brush_hair/same.avi"


def test_the_other_splits(folder: Path) -> None:
    samples = read("hmdb51", str(folder), ReaderOptions(split="train2"))
    assert brief(samples) == [("wave_a-b_wave", "train2", ("wave",))]
    assert found(samples) == [True]
    assert warnings("hmdb51", folder, split="1")[:2] == [
        "HMDB51 train1 is not the whole official set: the annotations have 1 videos (published: 3570)",
        "HMDB51 test1 is not the whole official set: the annotations have 2 videos (published: 1530)",
    ]
    with pytest.raises(DataError, match=r"has no \*_test_split3\.txt, which split train3 of HMDB51 needs"):
        read("hmdb51", str(folder), ReaderOptions(split="3"))


def test_bad_lists(folder: Path) -> None:
    put_text(folder / "testTrainMulti_7030_splits", **{"wave_test_split1.txt": "a.avi 3\n"})
    with pytest.raises(DataError, match=r"line 1 is 'a\.avi 3': after the clip should be 0, 1 or 2"):
        read("hmdb51", str(folder))
