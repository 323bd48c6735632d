"""The folder reader and the keys it makes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vtr.data.annotations import ReaderOptions, make_key, read
from vtr.errors import DataError


def touch(root: Path, **files: str) -> None:
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("_", ".", 1)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def test_captions_stand_beside_their_video(tmp_path: Path) -> None:
    touch(tmp_path, b_mp4="", b_txt="one\n\n  two \n", sub__a_MKV="", sub__a_txt="three", c_webm="", notes_txt="no")
    touch(tmp_path, d_mp4="", d_txt=" \n")
    (tmp_path / ".hidden.mp4").touch()
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "x.mp4").touch()
    samples = read("folder", str(tmp_path), ReaderOptions(split="val"))
    assert [(s.key, s.captions, s.source) for s in samples] == [
        ("b", ("one", "two"), "b.mp4"),
        ("c", (), "c.webm"),
        ("d", (), "d.mp4"),
        ("sub_a", ("three",), "sub/a.MKV"),
    ]
    assert {s.split for s in samples} == {"val"}
    assert len(read("folder", str(tmp_path), ReaderOptions(limit=1))) == 1


def test_a_folder_is_all_of_one_split_which_is_said(tmp_path: Path) -> None:
    touch(tmp_path, train__a_mp4="", train__a_txt="one", Test__b_mp4="", Test__b_txt="two")
    told: list[str] = []
    part = rf"has videos inside and outside of .*Test, .*\n  hint: give {tmp_path}/Test in place of {tmp_path}"
    with pytest.raises(DataError, match=part):
        read("folder", str(tmp_path), ReaderOptions(split="test"))
    assert [s.split for s in read("folder", str(tmp_path), ReaderOptions(warn=told.append))] == ["train", "train"]
    assert told == []
    for folder, split in (("Test", "test"), (".", "val")):
        found = read("folder", str(tmp_path / folder), ReaderOptions(split=split, warn=told.append))
        assert {s.split for s in found} == {split}
        assert told.pop().endswith(f"is a folder, which names no splits: all its videos are taken as {split}")
    (tmp_path / "train" / "a.mp4").unlink()
    assert len(read("folder", str(tmp_path), ReaderOptions(split="test"))) == 1, "all are of it"


def test_bad_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="gone does not exist"):
        read("folder", str(tmp_path / "gone"))
    with pytest.raises(DataError, match="holds no video file"):
        read("folder", str(tmp_path))
    touch(tmp_path, a_mp4="")
    with pytest.raises(DataError, match=r"no video in .* has a caption: there is no a\.txt beside a\.mp4"):
        read("folder", str(tmp_path))
    (tmp_path / "a.txt").write_bytes(b"caf\xe9")
    with pytest.raises(DataError, match=r"a\.txt is not UTF-8 text \(byte 3\)"):
        read("folder", str(tmp_path))
    touch(tmp_path, a_txt="x", a_avi="")
    with pytest.raises(DataError, match=r"two videos have the key 'a': 'a\.avi' and 'a\.mp4'"):
        read("folder", str(tmp_path))
    with pytest.raises(DataError, match=r"a\.txt is a file, not a folder"):
        read("folder", str(tmp_path / "a.txt"))


def test_a_name_too_long_for_a_caption_beside_it(tmp_path: Path) -> None:
    (tmp_path / ("n" * 252 + ".ts")).touch()
    (tmp_path / "a.mp4").touch()
    (tmp_path / "a.txt").write_text("one")
    assert [sample.captions for sample in read("folder", str(tmp_path))] == [("one",), ()]


def test_keys_lose_dots_and_nothing_else_silently() -> None:
    assert make_key("dogs/run 1.v2") == "dogs_run-1-v2"
    assert make_key("../x/./a") == "x_a"
    assert make_key("-Ab_9") == "-Ab_9"
    assert make_key("猫/犬") != make_key("猫/魚")
    assert make_key("\ud800a") != make_key("\ud801a"), "what JSON can write and no file name can be"
    assert make_key("a?") != make_key("a!") != "a-"
    assert make_key("d" * 200 + "a") != make_key("d" * 200 + "b")


@given(st.text(min_size=1))
def test_any_name_makes_a_key_that_webdataset_keeps_whole(name: str) -> None:
    key = make_key(name)
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,80}", key)
    assert make_key(key) == key
