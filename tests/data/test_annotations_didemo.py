"""DiDeMo: sentences become a paragraph in order of time, and one video under two names stays one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from official_helpers import brief, found, put, put_json, warnings

from vtr.data.annotations import ReaderOptions, read
from vtr.errors import DataError


def said(video: str, description: str, *times: tuple[int, int]) -> dict[str, Any]:
    return {
        "annotation_id": 1, "num_segments": 6, "description": description, "video": video,
        "times": [list(pair) for pair in times], "dl_link": "https://www.flickr.com/video_download.gne?id=1",
    }  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    entries = [
        said("1@N04_1_aa.m4v", "the end. ", (4, 4), (4, 4), (0, 0), (4, 4)),
        said("1@N04_1_aa.m4v", "the start", (0, 0), (1, 1), (0, 0), (5, 5)),
        said("2@N00_2_bb.", "alone", (3, 4), (2, 2)),
        said("1@N04_1_aa.mp4", "the middle", (2, 3), (3, 3), (2, 3), (3, 3)),
    ]
    put_json(tmp_path / "data" / "test_data.json", entries)
    put(tmp_path, "videos/1@N04_1_aa.m4v.mp4", "videos/1@N04_1_aa.mp4.mp4", "videos/2@N00_2_bb..mp4")
    return tmp_path


def test_a_paragraph_in_order_of_time(folder: Path) -> None:
    samples = read("didemo", str(folder), ReaderOptions(split="test"))
    assert [text for _, _, text in brief(samples)] == [("the start the middle the end.",), ("alone",)]
    assert [sample.meta for sample in samples] == [{"sentences": 3}, {"sentences": 1}]
    assert found(samples) == [True, True]
    assert [s.source for s in samples] == ["videos/1@N04_1_aa.m4v.mp4", "videos/2@N00_2_bb..mp4"]
    assert samples[0].key.startswith("1-N04_1_aa-"), "keys have no @, so a hash keeps them apart"


def test_other_names_of_a_file(folder: Path) -> None:
    for path in (folder / "videos").iterdir():
        path.unlink()
    put(folder, "a/1@N04_1_aa.mp4", "a/2@N00_2_bb")
    samples = read("didemo", str(folder / "data" / "test_data.json"), ReaderOptions(root=folder / "a"))
    assert [sample.source for sample in samples] == ["1@N04_1_aa.mp4", "2@N00_2_bb"]
    assert found(samples) == [True, True]
    put(folder, "a/x/2@N00_2_bb.mov")
    with pytest.raises(
        DataError, match=r"a has several files for 2@N00_2_bb: 2@N00_2_bb, x/2@N00_2_bb\.mov\n  hint: say"
    ):
        read("didemo", str(folder), ReaderOptions(root=folder / "a"))


def test_counts(folder: Path) -> None:
    assert warnings("didemo", folder, split="test") == [
        "DiDeMo test is not the whole official set: the annotations have 2 videos (published: 1004)"
    ]


def test_bad_files(folder: Path) -> None:
    for entry, message in (
        ({"video": "a.mp4"}, r"\[0\] has no times \(list\); it has: video"),
        (said("a.mp4", "x"), r"\[0\] has no times"),
        ({**said("a.mp4", "x"), "times": [[1, float("inf")]]}, r"\[0\] has times .*, not pairs of segments"),
        ({**said("a.mp4", "x"), "times": [[1]]}, r"\[0\] has times \[\[1\]\], not pairs of segments"),
    ):
        put_json(folder / "data" / "test_data.json", [entry])
        with pytest.raises(DataError, match=message):
            read("didemo", str(folder))
