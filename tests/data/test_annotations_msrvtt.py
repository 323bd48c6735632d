"""MSR-VTT: the official splits, and JSFusion's 1k-A."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from official_helpers import brief, found, put, put_json, put_text, warnings

from vtr.data.annotations import ReaderOptions, official_count, read
from vtr.errors import DataError

CSV = "key,vid_key,video_id,sentence\nret0,msr9770,video9770,a person is connecting something to system\n"


def info(*videos: tuple[int, str], captions: int = 2) -> dict[str, Any]:
    return {
        "info": {"contributor": "Microsoft MSM group"},
        "videos": [
            {
                "category": 9,
                "url": "u",
                "video_id": f"video{n}",
                "start time": 1.0,
                "end time": 9.0,
                "split": s,
                "id": n,
            }
            for n, s in videos
        ],
        "sentences": [
            {"sen_id": 20 * n + k, "video_id": f"video{n}", "caption": f"video {n} sentence {k}"}
            for k in range(captions)
            for n, _ in videos
        ],
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    put_json(tmp_path / "train_val_videodatainfo.json", info((0, "train"), (1, "train"), (6513, "validate")))
    put_json(tmp_path / "annotations" / "test_videodatainfo.json", info((7010, "test"), (9770, "test")))
    put_text(tmp_path, **{"MSRVTT_JSFUSION_test.csv": CSV})
    put(tmp_path, "TrainValVideo/video0.mp4", "TrainValVideo/video1.mp4", "TestVideo/video9770.webm")
    return tmp_path


def test_the_official_splits(folder: Path) -> None:
    samples = read("msrvtt", str(folder))
    assert brief(samples) == [
        ("video0", "train", ("video 0 sentence 0", "video 0 sentence 1")),
        ("video1", "train", ("video 1 sentence 0", "video 1 sentence 1")),
        ("video6513", "val", ("video 6513 sentence 0", "video 6513 sentence 1")),
        ("video7010", "test", ("video 7010 sentence 0", "video 7010 sentence 1")),
        ("video9770", "test", ("video 9770 sentence 0", "video 9770 sentence 1")),
    ]
    assert found(samples) == [True, True, False, False, True]
    assert [sample.source for sample in samples[::4]] == ["TrainValVideo/video0.mp4", "TestVideo/video9770.webm"]
    assert read("msrvtt", str(folder), ReaderOptions(split="full")) == samples
    assert read("msrvtt", str(folder), ReaderOptions(split="val")) == samples[2:3]
    assert read("msrvtt", str(folder), ReaderOptions(limit=4)) == samples[:4]


def test_1k_a(folder: Path) -> None:
    test = read("msrvtt", str(folder), ReaderOptions(split="1k-A-test"))
    assert brief(test) == [("video9770", "1k-A-test", ("a person is connecting something to system",))]
    whole = read("msrvtt", str(folder), ReaderOptions(split="1k-A"))
    assert [sample.key for sample in whole] == ["video0", "video1", "video6513", "video7010", "video9770"]
    assert [sample.split for sample in whole] == ["1k-A-train"] * 4 + ["1k-A-test"]
    assert [sample.meta for sample in whole[2:4]] == [{"official_split": "validate"}, {"official_split": "test"}]
    assert read("msrvtt", str(folder), ReaderOptions(split="jsfusion")) == whole
    put_text(folder, **{"MSRVTT_train.9k.csv": "video_id\nvideo7010\nvideo0\n"})
    listed = read("msrvtt", str(folder), ReaderOptions(split="1k-A-train"))
    assert [sample.key for sample in listed] == ["video7010", "video0"]


def test_the_file_with_everything(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("one")
    everything = put_json(other / "MSRVTT_data.json", info((0, "train"), (6513, "validate"), (9770, "test")))
    assert [s.split for s in read("msrvtt", str(everything))] == ["train", "val", "test"]
    samples = read("msrvtt", str(everything), ReaderOptions(root=folder))
    assert found(samples) == [True, False, True]
    with pytest.raises(DataError, match=r"has no MSRVTT_JSFUSION_test\.csv, which split 1k-A-test of MSR-VTT needs"):
        read("msrvtt", str(other), ReaderOptions(split="1k-A"))


def test_one_file_says_its_splits(folder: Path) -> None:
    assert [s.split for s in read("msrvtt", str(folder / "MSRVTT_JSFUSION_test.csv"))] == ["1k-A-test"]
    val = read("msrvtt", str(folder / "train_val_videodatainfo.json"), ReaderOptions(split="val"))
    assert [s.key for s in val] == ["video6513"]
    with pytest.raises(DataError, match=r"test\.csv is the file of 1k-A-test, not of train\n  hint: give the folder"):
        read("msrvtt", str(folder / "MSRVTT_JSFUSION_test.csv"), ReaderOptions(split="train"))
    (folder / "MSRVTT_JSFUSION_test.csv").rename(folder / "mine.csv")
    assert len(read("msrvtt", str(folder / "mine.csv"), ReaderOptions(split="1k-A-test"))) == 1
    with pytest.raises(
        DataError, match=r"mine\.csv is not called like an annotation file of MSR-VTT, which are: train_"
    ):
        read("msrvtt", str(folder / "mine.csv"))


def test_counts(folder: Path) -> None:
    published = official_count("msrvtt", "1k-A-test")
    assert published is not None
    assert (published.videos, published.captions) == (1000, 1000)
    assert warnings("msrvtt", folder, split="1k-A-test") == [
        "MSR-VTT 1k-A-test is not the whole official set: the annotations have 1 videos (published: 1000) and "
        "1 captions (published: 1000)"
    ]
    said = warnings("msrvtt", folder)
    assert [line.split(" is not")[0] for line in said[:3]] == ["MSR-VTT train", "MSR-VTT val", "MSR-VTT test"]
    assert said[3:] == ["MSR-VTT: 2 of 5 media files are not there and will be skipped: video6513.mp4, video7010.mp4"]
    assert warnings("msrvtt", folder, limit=2) == []


def test_a_default_split_without_a_file_is_announced(folder: Path) -> None:
    (folder / "annotations" / "test_videodatainfo.json").unlink()
    assert {sample.split for sample in read("msrvtt", str(folder))} == {"train", "val"}
    assert any(
        "MSR-VTT test is not the whole official set: the annotations have 0" in s for s in warnings("msrvtt", folder)
    )


def test_the_whole_test_set_passes_without_a_word(tmp_path: Path) -> None:
    lines = [f"ret{n},msr{n},video{7010 + n},sentence {n}" for n in range(1000)]
    put_text(tmp_path, **{"MSRVTT_JSFUSION_test.csv": "\n".join([CSV.splitlines()[0], *lines]) + "\n"})
    put(tmp_path, *(f"video{7010 + n}.mp4" for n in range(1000)))
    assert warnings("msrvtt", tmp_path, split="1k-A-test") == []


def test_bad_files(folder: Path) -> None:
    csv, train = folder / "MSRVTT_JSFUSION_test.csv", folder / "train_val_videodatainfo.json"
    for text, message in {
        "video,caption\nvideo1,x\n": r"no column 'video_id'; its columns are: video, caption",
        "video_id,sentence\nvideo1\n": r"test\.csv line 2 is cut short",
        "video_id,sentence\nvideo1, \n": r"test\.csv line 2 has no sentence",
        "": r"no column 'video_id'; its columns are: none",
        "video_id,sentence\n": r"has no sample of 1k-A-test",
        "video_id,sentence\nvideo1,x\nvideo1,y\n": r"two videos have the key 'video1'.*\n.*name every video once",
    }.items():
        csv.write_text(text)
        with pytest.raises(DataError, match=message):
            read("msrvtt", str(folder), ReaderOptions(split="1k-A-test"))
    csv.write_text("video_id,sentence\nvideo3,x\n")
    with pytest.raises(DataError, match="names no video of the annotations"):
        read("msrvtt", str(folder), ReaderOptions(split="1k-A-train"))
    for value, message in {
        "[]": "holds a list, not a dict",
        "{": "cannot be read as JSON",
        '{"videos": {}}': r"has no videos \(list\); it has: videos",
        '{"videos": [{"video_id": "video0"}]}': r"videos\[0\] has no split \(str\); it has: video_id",
        '{"videos": [{"video_id": "video0", "split": "train"}], "sentences": []}': "has no caption of video0",
    }.items():
        train.write_text(value)
        with pytest.raises(DataError, match=message):
            read("msrvtt", str(folder), ReaderOptions(split="train"))
    (folder / "annotations" / "test_videodatainfo.json").unlink()
    with pytest.raises(DataError, match="needs"):
        read("msrvtt", str(folder), ReaderOptions(split="test"))
    with pytest.raises(
        DataError,
        match=r"MSR-VTT has no split 'tset'\n  hint: its splits are: train, .*; 1k-A is 1k-A-train and 1k-A-test",
    ):
        read("msrvtt", str(folder), ReaderOptions(split="tset"))
    with pytest.raises(DataError, match=r"gone does not exist\n  hint: give the folder of MSR-VTT"):
        read("msrvtt", str(folder / "gone"))
    with pytest.raises(DataError, match="nowhere is not a folder"):
        read("msrvtt", str(folder), ReaderOptions(root=folder / "nowhere"))
