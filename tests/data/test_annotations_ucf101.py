"""UCF101: names of classes as captions."""

from __future__ import annotations

from pathlib import Path

import pytest
from official_helpers import brief, found, put, put_text, warnings

from vtr.data.annotations import ReaderOptions, read
from vtr.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    lists = tmp_path / "ucfTrainTestlist"
    lists.mkdir()
    put_text(lists, **{"classInd.txt": "1 ApplyEyeMakeup\r\n2 HandstandPushups\r\n3 YoYo\r\n"})
    put_text(lists, **{"trainlist01.txt": "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1\r\n"})
    put_text(lists, **{"testlist01.txt": "HandStandPushups/v_HandStandPushups_g01_c01.avi\nYoYo/v_YoYo_g01_c01.avi\n"})
    put_text(lists, **{"testlist02.txt": "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi\n"})
    put(tmp_path, "UCF-101/HandstandPushups/v_HandStandPushups_g01_c01.avi")
    put(tmp_path, "UCF-101/ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi")
    return tmp_path


def test_classes_as_captions(folder: Path) -> None:
    samples = read("ucf101", str(folder))
    assert brief(samples) == [
        ("v_ApplyEyeMakeup_g08_c01", "train1", ("apply eye makeup",)),
        ("v_HandStandPushups_g01_c01", "test1", ("handstand pushups",)),
        ("v_YoYo_g01_c01", "test1", ("yo yo",)),
    ]
    assert [sample.meta for sample in samples] == [
        {"class": "ApplyEyeMakeup", "label": 0},
        {"class": "HandstandPushups", "label": 1},
        {"class": "YoYo", "label": 2},
    ]
    assert found(samples) == [True, True, False]
    assert read("ucf101", str(folder), ReaderOptions(split="1")) == samples


def test_the_other_splits(folder: Path) -> None:
    samples = read("ucf101", str(folder), ReaderOptions(split="test2"))
    assert brief(samples) == [("v_ApplyEyeMakeup_g08_c01", "test2", ("apply eye makeup",))]
    assert read("ucf101", str(folder / "ucfTrainTestlist" / "testlist02.txt"), ReaderOptions(root=folder)) == samples
    assert "published: 3734" in warnings("ucf101", folder, split="test2")[0]
    with pytest.raises(DataError, match=r"has no trainlist03\.txt, which split train3 of UCF101 needs"):
        read("ucf101", str(folder), ReaderOptions(split="3"))


def test_bad_lists(folder: Path) -> None:
    lists = folder / "ucfTrainTestlist"
    put_text(lists, **{"testlist01.txt": "Knitting/v_Knitting_g01_c01.avi\n"})
    with pytest.raises(
        DataError, match=r"line 1 names 'Knitting/v_Knitting_g01_c01\.avi', of no class in classInd\.txt"
    ):
        read("ucf101", str(folder))
    put_text(lists, **{"classInd.txt": "ApplyEyeMakeup 1\n"})
    with pytest.raises(DataError, match=r"line 1 is 'ApplyEyeMakeup 1'\n  hint: each line should be: number, a space"):
        read("ucf101", str(folder))
    (lists / "classInd.txt").unlink()
    with pytest.raises(DataError, match=r"has no classInd\.txt, which every split needs"):
        read("ucf101", str(folder))
