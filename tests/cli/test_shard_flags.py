"""The flags of `vtr shard`: what they make, and which contradict each other."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from cli_helpers import Cli, refused

sys.path.append(str(Path(__file__).resolve().parents[1] / "data"))
from shard_helpers import make_video, tree

from vtr.cli.shard import READERS


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of five little videos."""
    folder = tmp_path_factory.mktemp("table")
    with (folder / "captions.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["video", "caption"])
        for i in range(5):
            make_video(folder / f"clip{i}.mp4", i, frames=24)
            rows.writerow([f"clip{i}.mp4", f"clip number {i}"])
    return folder / "captions.csv"


def test_help_lists_every_reader(cli: Cli) -> None:
    from vtr.data.annotations import READERS as THERE

    assert READERS.split(", ") == list(THERE)
    words = cli("shard", "--help").out.replace("│", " ").split()
    assert all(f"{name}," in words or f"{name}." in words for name in THERE)


def test_a_terminal_sees_how_many_samples_are_read(tmp_path: Path) -> None:
    import pty

    parent, child = pty.openpty()
    words = [sys.executable, "-m", "vtr", "shard", "synthetic", "seed:0", str(tmp_path / "out"), "--limit", "2500"]
    words, wide = [*words, "--plan-only"], {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=child, env=wide) as process:
        os.close(child)
        seen = b""
        with suppress(OSError):  # which Linux raises at the end
            while more := os.read(parent, 4096):
                seen += more
        os.close(parent)
    assert process.returncode == 0
    assert b"read" in seen
    assert b"2000/?" in seen


def test_frames_of_a_rate_and_frames_of_a_number(cli: Cli, table: Path, tmp_path: Path) -> None:
    for flags, count, height in (
        ([], 12, 144),
        (["--fps", 2], 6, 144),
        (["--max-frames", 5], 5, 144),
        (["--frames", 7, "--short-side", 64, "--quality", 60], 7, 64),
    ):
        out = tmp_path / str(count)
        result = cli("shard", "table", table, out, "--store", "frames", "--workers", 1, *flags)
        assert result.code == 0, result
        assert "5 by jpeg" in result.out
        assert "clips/s from stored frames" in result.out
        assert "would give" not in result.out, "there is nothing quicker"
        index = json.loads(cli("shard", "table", table, out, "--store", "frames", *flags, "--json").out)
        assert index["nothing_to_do"]
        from vtr.data.index import ShardIndex

        info = ShardIndex.open(out).info(0)
        assert (info.frames, info.height) == (count, height)


def test_videos_as_they_are_and_small(cli: Cli, table: Path, tmp_path: Path) -> None:
    plain = cli("shard", "table", table, tmp_path / "plain", "--workers", 1)
    assert "to be decoded: 5 by" in plain.out
    assert "--store frames would give" in plain.out
    small = cli("shard", "table", table, tmp_path / "small", "--transcode", "--short-side", 96, "--json")
    assert small.code == 0
    assert json.loads(small.out)["pace"]["frame_store_clips_per_s_per_core"] > 0
    assert tree(tmp_path / "small").keys() == tree(tmp_path / "plain").keys()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--fps", "4"], ["--fps belongs to --store frames", "add --store frames"]),
        (["--short-side", "4"], ["--short-side has no effect", "add --transcode"]),
        (["--store", "frames", "--transcode"], ["--transcode makes small videos", "take one"]),
        (["--store", "frames", "--frames", "4", "--fps", "1"], ["--frames 4 is an exact number"]),
        (["--task", "0"], ["--task and --num-tasks go together", "--task 0 --num-tasks 4"]),
        (["--num-tasks", "3"], ["--task and --num-tasks go together"]),
        (["--task", "3", "--num-tasks", "3"], ["there is no task 3 of 3", "count from 0"]),
        (["--plan-only", "--ray", "auto"], ["three ways to share the work"]),
        (["--ray", "auto", "--workers", "2"], ["--workers counts processes of this machine"]),
    ],
)
def test_flags_that_contradict(cli: Cli, table: Path, tmp_path: Path, flags: list[str], words: list[str]) -> None:
    refused(cli("shard", "table", table, tmp_path / "out", *flags), 2, *words)
    assert not list(tmp_path.rglob("*.tar"))


def test_one_split_of_a_table_is_never_all_of_it_in_silence(cli: Cli, table: Path, tmp_path: Path) -> None:
    how = ("--split", "test", "--plan-only", "--json")
    plain = cli("shard", "table", table, tmp_path / "a", *how)
    assert (plain.code, json.loads(plain.out)["samples"]) == (0, 5)
    assert plain.err == f"warning: {table} has no column 'split': all its videos are taken as test\n"
    near = table.with_name("near.csv")
    near.write_text("video,caption,Split\nclip0.mp4,x,train\nclip1.mp4,y,test\n")
    refused(cli("shard", "table", near, tmp_path / "b", *how), 2, "but one named 'Split'", "rename it to 'split'")
    near.write_text(near.read_text().replace("Split", "split"))
    named = cli("shard", "table", near, tmp_path / "b", *how)
    assert (named.code, json.loads(named.out)["samples"], named.err) == (0, 1, "")


def test_limits_are_flags_that_the_error_names(cli: Cli, table: Path, tmp_path: Path) -> None:
    few = ("--max-skipped", 1, "--workers", 1)
    refused(
        cli("shard", "table", table, tmp_path / "a", "--max-gop", 23, *few), 1,
        "5 of 5 samples were skipped", "24 frames without a key frame among them, over max_gop = 23",
    )  # fmt: skip
    assert cli("shard", "table", table, tmp_path / "b", "--max-gop", 24, "--max-pixels", 176 * 144, *few).code == 0
    from vtr.data.index import ShardIndex

    limits = ShardIndex.open(tmp_path / "b").limits
    assert (limits.max_gop, limits.max_pixels) == (24, 176 * 144)
    refused(cli("shard", "table", table, tmp_path / "c", "--max-bytes", 0), 2, "max_bytes is 0")
    refused(cli("inspect", tmp_path / "b", "--max-gop", 9), 2, "--max-gop says how an index is made")
    (tmp_path / "b" / "index.parquet").unlink()
    (tmp_path / "b" / "manifest.json").unlink()
    assert cli("inspect", tmp_path / "b", "--index", "--max-gop", 24, "--max-pixels", 176 * 144).code == 0
    assert ShardIndex.open(tmp_path / "b").limits == limits


def test_a_part_of_a_benchmark_is_announced_before_anything_is_written(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "MSRVTT_JSFUSION_test.csv").write_text(
        "video_id,sentence\n" + "".join(f"video{n},caption {n}\n" for n in range(3))
    )
    make_video(tmp_path / "video0.mp4")
    make_video(tmp_path / "video1.mp4", 1)
    how = ("shard", "msrvtt", tmp_path, tmp_path / "out", "--split", "1k-A-test")
    part = "1k-A-test is not the whole official set: the annotations have 3 videos (published: 1000)"
    missing = "1 of 3 media files are not there and will be skipped: video2.mp4"
    planned = cli(*how, "--plan-only")
    assert planned.code == 0
    assert [planned.err.count(words) for words in (part, missing)] == [1, 1]
    assert len(json.loads(cli(*how, "--plan-only", "--json").out)["warnings"]) == 2
    task = cli(*how, "--task", 0, "--num-tasks", 1, "--workers", 1, "--max-skipped", 0.4)
    assert (task.code, task.err.count(part)) == (0, 1), "of the plan"
    few = cli("shard", "msrvtt", tmp_path, tmp_path / "few", "--split", "1k-A-test", "--workers", 1)
    assert few.code == 1
    assert few.err.index(part) < few.err.index(missing) < few.err.index("1 of 3 samples were skipped")
    whole = cli(*how, "--workers", 1, "--max-skipped", 0.4, "--json")
    assert [whole.err.count(words) for words in (part, missing)] == [1, 1], "and not twice"
    assert json.loads(whole.out)["nothing_to_do"]
    seen = cli("inspect", tmp_path / "out")
    assert (seen.code, seen.err.count(part), seen.err.count(missing)) == (0, 1, 1)
    assert len(json.loads(cli("inspect", tmp_path / "out", "--json").out)["warnings"]) == 2


def test_a_folder_with_other_files_is_no_place_for_shards(cli: Cli, table: Path, tmp_path: Path) -> None:
    for name in ("thesis.tex", "figure.png", "a", "b"):
        (tmp_path / name).write_text("mine")
    before = tree(tmp_path)
    for flags in (("--workers", 1), ("--plan-only",), ("--workers", 1, "--task", 0, "--num-tasks", 2)):
        refused(
            cli("shard", "table", table, tmp_path, *flags), 2,
            f"{tmp_path} has other files in it: a, b, figure.png and 1 more", f"such as {tmp_path / 'shards'}",
        )  # fmt: skip
        assert {name: data for name, data in tree(tmp_path).items() if name != ".lock"} == before
    (tmp_path / "new" / "lost+found").mkdir(parents=True)
    (tmp_path / "new" / ".hidden").write_text("")
    how = ("shard", "table", table, tmp_path / "new", "--workers", 1)
    assert cli("shard", "table", table, tmp_path / "new" / "few", "--limit", 1, "--workers", 1).code == 0
    assert cli(*how).code == 0, "beside other shards"
    (tmp_path / "new" / "notes.txt").write_text("later")
    assert "nothing to do" in cli(*how).out, "what is put there later does not matter"


def test_a_task_that_is_given_again_leaves_nothing_behind(cli: Cli, table: Path, tmp_path: Path) -> None:
    how = ("shard", "table", table, tmp_path / "out", "--per-shard", 2, "--workers", 1, "--num-tasks", 2)
    for task in (0, 1):
        assert cli(*how, "--task", task).code == 0
    whole = tree(tmp_path / "out")
    assert ".lock" not in whole
    for task in (0, 1):
        assert "nothing to do" in cli(*how, "--task", task).out
        assert tree(tmp_path / "out") == whole
