"""MSVD: descriptions of many videos, and the lists that split them."""

from __future__ import annotations

from pathlib import Path

import pytest
from official_helpers import brief, found, put, put_text, warnings

from vtr.data.annotations import ReaderOptions, read
from vtr.errors import DataError

TEXT = """# Microsoft Research Video Description Corpus
#
# licence

-4wsuPCjDBc_5_15 a squirrel is eating a peanut
mv89psg6zh4_33_46 A bird is bathing in a sink.
-4wsuPCjDBc_5_15 A chipmunk  is eating
vTAnnW0ypPs_10_20 a man is shooting a gun
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    put_text(tmp_path, **{"AllVideoDescriptions.txt": TEXT, "train_list.txt": "-4wsuPCjDBc_5_15\n"})
    put_text(tmp_path, **{"val_list.txt": "mv89psg6zh4_33_46", "test_list.txt": "vTAnnW0ypPs_10_20\r\n"})
    put(tmp_path, "YouTubeClips/-4wsuPCjDBc_5_15.avi", "YouTubeClips/vTAnnW0ypPs_10_20.mp4")
    return tmp_path


def test_captions_of_the_listed_videos(folder: Path) -> None:
    samples = read("msvd", str(folder))
    assert brief(samples) == [
        ("-4wsuPCjDBc_5_15", "train", ("a squirrel is eating a peanut", "A chipmunk is eating")),
        ("mv89psg6zh4_33_46", "val", ("A bird is bathing in a sink.",)),
        ("vTAnnW0ypPs_10_20", "test", ("a man is shooting a gun",)),
    ]
    assert found(samples) == [True, False, True]
    assert samples[1].source == "mv89psg6zh4_33_46.avi"
    assert read("msvd", str(folder / "AllVideoDescriptions.txt")) == samples
    assert warnings("msvd", folder, split="test") == [
        "MSVD test is not the whole official set: the annotations have 1 videos (published: 670)"
    ]


def test_the_numbered_mapping_splits_too(folder: Path) -> None:
    for name in ("train", "val", "test"):
        (folder / f"{name}_list.txt").unlink()
    with pytest.raises(DataError, match=r"has no train_list\.txt or youtube_mapping\.txt, which split train needs"):
        read("msvd", str(folder))
    text = "vTAnnW0ypPs_10_20 vid1301\nmv89psg6zh4_33_46 vid1\n-4wsuPCjDBc_5_15 vid1970\n"
    put_text(folder, **{"youtube_mapping.txt": text})
    samples = read("msvd", str(folder))
    assert [(s.key[:3], s.split) for s in samples] == [("mv8", "train"), ("vTA", "test"), ("-4w", "test")]
    put_text(folder, **{"youtube_mapping.txt": "mv89psg6zh4_33_46 1\n"})
    with pytest.raises(DataError, match=r"line 1 is 'mv89psg6zh4_33_46 1'\n  hint: each line should be"):
        read("msvd", str(folder))


def test_bad_files(folder: Path) -> None:
    put_text(folder, **{"test_list.txt": "other_1_2\n"})
    with pytest.raises(DataError, match="has no caption of other_1_2, which is in split test"):
        read("msvd", str(folder), ReaderOptions(split="test"))
    put_text(folder, **{"AllVideoDescriptions.txt": "mv89psg6zh4_33_46\n"})
    with pytest.raises(DataError, match=r"line 1 has no caption after 'mv89psg6zh4_33_46'"):
        read("msvd", str(folder))
    (folder / "AllVideoDescriptions.txt").write_bytes(b"a caf\xe9\n")
    with pytest.raises(DataError, match="cannot be read as text: 'utf-8' codec"):
        read("msvd", str(folder))
