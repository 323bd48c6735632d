"""What all official readers share: media found by name, the census, and docs that agree with the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from official_helpers import put, put_text, warnings

from vtr.data.annotations import BENCHMARKS, READERS, ReaderOptions, Sample, describe, official_count, read, take_census
from vtr.data.annotations.media import MediaTree, bare
from vtr.errors import DataError

DOCS = Path(__file__).resolve().parents[2] / "docs" / "readers.md"


def test_bare_names() -> None:
    for name in ("x", "x.mp4", "x.MOV", "x.mov.mp4", "x..mp4", "x.", "a/b.c/x.webp"):
        assert bare(name) == "x"
    assert bare("0001_A_00.00.51.926-00.00.54.129.avi") == "0001_A_00.00.51.926-00.00.54.129"
    assert bare("0001_A_00.00.51.926-00.00.54.129") == "0001_A_00.00.51.926-00.00.54.129"
    assert bare(".mp4") == ".mp4"


def test_media_are_found_wherever_they_lie(tmp_path: Path) -> None:
    put(
        tmp_path,
        "root/a/x.mp4",
        "root/deep/er/y",
        "elsewhere/z.webm",
        "root/.hidden/w.mp4",
        "root/.v.mp4",
        "root/u.txt",
    )
    (tmp_path / "root" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root" / "a" / "loop").symlink_to(tmp_path / "root")
    tree = MediaTree(tmp_path / "root", ".mp4")
    assert [tree.find(name) for name in ("x", "y.avi", "z")] == ["a/x.mp4", "deep/er/y", "link/z.webm"]
    assert [tree.has(name) for name in ("x", "w", "v", "u")] == [True, False, False, False]
    assert tree.find("w", folder="some") == "some/w.mp4"


def test_of_several_files_one_must_be_meant(tmp_path: Path) -> None:
    put(tmp_path, "full/x.mp4", "small/x.mp4", "x.mov.mp4")
    tree = MediaTree(tmp_path, ".mp4")
    with pytest.raises(
        DataError, match=r"several files for x: x\.mov\.mp4, full/x\.mp4, small/x\.mp4\n  hint: say which"
    ):
        tree.find("x")
    assert tree.find("x", folder="FULL") == "full/x.mp4"
    assert tree.find("x", prefer=("x.mov", "x.mov.mp4", "x.mp4")) == "x.mov.mp4"


def test_the_census_of_any_reader(tmp_path: Path) -> None:
    put_text(tmp_path, **{"t.csv": "video,caption\n" + "".join(f"v{n}.mp4,caption {n}\n" for n in range(9))})
    put(tmp_path, "v0.mp4", "v3.mp4")
    source, options = str(tmp_path / "t.csv"), ReaderOptions()
    samples = [*read("table", source), Sample("made", bytes, ("x",))]
    census = take_census("table", source, options, samples)
    assert census.warnings() == [
        "table: 7 of 10 media files are not there and will be skipped: v1.mp4, v2.mp4, v4.mp4, v5.mp4, v6.mp4, ..."
    ]
    record = census.record()
    assert (record["missing"], record["limited"], record["warnings"]) == (7, False, census.warnings())
    assert record["splits"] == [
        {"split": "train", "videos": 10, "captions": 10, "official_videos": None, "official_captions": None,
         "rounded": False}
    ]  # fmt: skip
    assert official_count("table", "train") is None
    assert official_count("msrvtt", "nothing") is None


def test_more_than_is_official_is_said_too(tmp_path: Path) -> None:
    rows = "".join(f"video{n},caption {n}\n" for n in range(1001))
    put_text(tmp_path, **{"MSRVTT_JSFUSION_test.csv": f"video_id,sentence\n{rows}"})
    put(tmp_path, *(f"video{n}.mp4" for n in range(1001)))
    assert "have 1001 videos (published: 1000)" in warnings("msrvtt", tmp_path, split="1k-A-test")[0]


def test_captions_are_put_on_one_line(tmp_path: Path) -> None:
    put_text(tmp_path, **{"MSRVTT_JSFUSION_test.csv": 'video_id,sentence\nvideo1," a  man\n runs "\n'})
    assert read("msrvtt", str(tmp_path), ReaderOptions(split="1k-A-test"))[0].captions == ("a man runs",)


def test_a_folder_without_any_annotation_file(tmp_path: Path) -> None:
    for name in BENCHMARKS:
        with pytest.raises(DataError, match=r"has no .*needs\n  hint: docs/readers\.md says"):
            read(name, str(tmp_path))


def test_every_benchmark_is_a_reader_with_sound_names() -> None:
    assert set(BENCHMARKS) < set(READERS)
    for name, benchmark in BENCHMARKS.items():
        assert describe(name).startswith(f"`{name}`")
        assert {*benchmark.default, *sum(benchmark.groups.values(), ())} <= set(benchmark.splits)
        assert not set(benchmark.groups) & set(benchmark.splits)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_the_docs_say_what_the_code_says(name: str) -> None:
    benchmark = BENCHMARKS[name]
    section = re.search(rf"^## {name}\n(.*?)(?=^## |\Z)", DOCS.read_text(encoding="utf-8"), re.M | re.S)
    assert section is not None
    table = dict(re.findall(r"^\| `([\w-]+)`(.*)$", section[1], re.M))
    assert list(table) == list(benchmark.splits)
    for split, published in benchmark.splits.items():
        cells = [cell.strip() for cell in table[split].split("|")]
        about = "about " if published.about else ""
        numbers = [f"{about}{n:,}" if n else "" for n in (published.videos, published.captions)]
        assert cells[1:-1] == numbers or cells[1:-1] == numbers[:1], split
        assert ("default" in cells[0]) == (split in benchmark.default), split
        assert re.findall(r"group `(.*?)`", cells[0]) == [g for g, parts in benchmark.groups.items() if split in parts]
        assert all(f"`{file}`" in section[1] for file in published.files[:1] if "*" not in file and "list0" not in file)
    command = re.search(rf"^vtr shard {name} DIR OUT --split (\S+)", section[1], re.M)
    assert command is not None
    assert command[1] in benchmark.splits
