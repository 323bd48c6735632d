"""LSMDC: tab-separated lines, clips in a folder for each movie, several sentences for one clip."""

from __future__ import annotations

from pathlib import Path

import pytest
from official_helpers import brief, found, put, put_text, warnings

from vtr.data.annotations import ReaderOptions, read
from vtr.errors import DataError

CLIP = "0001_American_Beauty_00.00.51.926-00.00.54.129"
OTHER = "1012_Unbreakable_00.05.16.065-00.05.21.941"
THIRD = "3009_BATTLE_LOS_ANGELES_00.03.07.170-00.03.09.675"
TIMES = "\t00.00.51.926\t00.00.54.129\t00.00.51.926\t00.00.54.129\t"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    train = f'{CLIP}{TIMES}SOMEONE says "so.\n{THIRD}{TIMES}He runs.\n{CLIP}{TIMES}She waits.\n'
    put_text(tmp_path, **{"LSMDC16_annos_training.csv": train})
    put_text(tmp_path, **{"LSMDC16_challenge_1000_publictect.csv": f"{OTHER}{TIMES}He looks up.\r\n"})
    put(tmp_path, f"avi/0001_American_Beauty/{CLIP}.avi", f"avi/1012_Unbreakable/{OTHER}.avi", f"old/x/{OTHER}.avi")
    return tmp_path


def test_sentences_of_one_clip_gather(folder: Path) -> None:
    samples = read("lsmdc", str(folder))
    first, second, third = (clip.replace(".", "-") for clip in (CLIP, THIRD, OTHER))
    assert brief(samples) == [
        (first, "train", ('SOMEONE says "so.', "She waits.")),
        (second, "train", ("He runs.",)),
        (third, "test", ("He looks up.",)),
    ]


def test_a_clip_is_taken_from_its_movie(folder: Path) -> None:
    samples = read("lsmdc", str(folder), ReaderOptions(split="test"))
    assert samples[0].source == f"avi/1012_Unbreakable/{OTHER}.avi"
    (folder / "avi" / "1012_Unbreakable" / f"{OTHER}.avi").unlink()
    (folder / "old" / "x" / f"{OTHER}.avi").unlink()
    samples = read("lsmdc", str(folder), ReaderOptions(split="test"))
    assert found(samples) == [False]
    assert samples[0].source == f"1012_Unbreakable/{OTHER}.avi"
    assert warnings("lsmdc", folder, split="train")[0] == (
        "LSMDC train is not the whole official set: the annotations have 3 captions (published: 101079)"
    )


def test_bad_lines(folder: Path) -> None:
    put_text(folder, **{"LSMDC16_annos_training.csv": f"{CLIP}\tSOMEONE says so.\n"})
    with pytest.raises(DataError, match=r"training\.csv line 1 has 2 fields, not 6\n  hint: they are: clip, start"):
        read("lsmdc", str(folder))
    with pytest.raises(DataError, match=r"has no LSMDC16_annos_val\.csv, which split val of LSMDC needs"):
        read("lsmdc", str(folder), ReaderOptions(split="val"))
