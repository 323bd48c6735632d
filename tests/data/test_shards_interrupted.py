"""Sharding that is killed, stopped, crashed, hung or out of disk: nothing is half-made, and it can go on."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from shard_helpers import Dies, Fails, Hangs, Slow, make_samples, tree

from vtr.data.annotations import Sample
from vtr.data.index import ShardIndex
from vtr.data.shards import write_shards
from vtr.data.tar import scan
from vtr.errors import InputError, WorkError

HERE = Path(__file__).resolve().parent


def shard(samples: list[Sample], out: Path, **options: Any) -> Any:
    return write_shards(samples, out, reader="table", source="t.csv", **{"per_shard": 3, "workers": 2, **options})


def slowed(folder: Path, count: int, seconds: float = 0.04) -> list[Sample]:
    """The samples of `make_samples`, each of which takes a moment to read."""
    return [replace(s, video=Slow(str(s.video), seconds)) for s in make_samples(folder, count)]


def start(folder: Path, count: int, out: Path, seconds: float = 0.04) -> subprocess.Popen[str]:
    """Another process that shards `slowed(folder, count)` into `out`; it has begun to when this returns."""
    slowed(folder, count)
    begun = folder / "begun"
    begun.unlink(missing_ok=True)
    program = f"""
        import sys
        sys.path.insert(0, {str(HERE)!r})
        from pathlib import Path
        from test_shards_interrupted import shard, slowed
        samples = slowed(Path({str(folder)!r}), {count}, {seconds})
        shard(samples, Path({str(out)!r}), progress=lambda _: Path({str(begun)!r}).touch())
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    wait_for(begun.exists)
    return process


def wait_for(what: Any, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.005)


def assert_nothing_half_made(out: Path) -> None:
    """Every tar under its name is whole: it ends as a tar should, and WebDataset would not halve a sample."""
    for tar in out.glob("*.tar"):
        assert not scan(tar).problems


def children(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except (OSError, IndexError):
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def killed_and_continued(tmp_path: Path, rounds: int, seed: int) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    samples = slowed(tmp_path / "videos", 40)
    shard(samples, whole)
    draw = random.Random(seed)
    kills = 0
    for _ in range(rounds):
        process = start(tmp_path / "videos", 40, out)
        time.sleep(draw.uniform(0.0, 1.3))
        if draw.random() < 0.5:
            process.kill()  # the workers must notice by themselves
        else:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
        assert_nothing_half_made(out)
        if (out / "manifest.json").exists():  # it was done before the shot came: begin anew
            assert tree(out).keys() - {".lock"} >= tree(whole).keys()
            for name in tree(out):
                (out / name).unlink()
    summary = shard(samples, out)
    assert kills > rounds // 2
    assert tree(out) == tree(whole)
    assert summary.samples == 40


def test_kill_9_and_continue(tmp_path: Path) -> None:
    killed_and_continued(tmp_path, rounds=3, seed=1)


@pytest.mark.slow
def test_kill_9_at_twenty_random_moments(tmp_path: Path) -> None:
    killed_and_continued(tmp_path, rounds=20, seed=2)


def test_ctrl_c_keeps_finished_shards_and_ends_the_workers(tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start(tmp_path / "videos", 24, out, 0.3)  # however late a busy machine looks, it is at work
    wait_for(lambda: list(out.glob(".parts/*.parquet")))
    workers = children(process.pid)
    os.killpg(process.pid, signal.SIGINT)
    assert "KeyboardInterrupt" in process.communicate(timeout=30)[1]
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))
    assert_nothing_half_made(out)
    assert not list(out.glob("**/*.tmp-*"))
    assert not (out / "index.parquet").exists()
    summary = shard(slowed(tmp_path / "videos", 24), out)
    assert summary.continued >= 1
    assert summary.samples == 24


def test_a_second_writer_is_refused_at_once(tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start(tmp_path / "videos", 12, out)
    with pytest.raises(InputError, match="out is being written by another process"):
        shard(slowed(tmp_path / "videos", 12), out)
    assert process.communicate(timeout=60)[1] == ""
    assert process.returncode == 0
    assert shard(slowed(tmp_path / "videos", 12), out).nothing_to_do


def test_a_killed_worker_is_an_error_that_says_where_it_was(tmp_path: Path) -> None:
    samples = make_samples(tmp_path / "videos", 9)
    samples[4] = replace(samples[4], video=Dies(signal.SIGKILL))
    with pytest.raises(
        WorkError, match=r"killed \(SIGKILL\) while at sample clip-004 \(clip-004\.mp4\), .* 000001\.tar"
    ) as caught:
        shard(samples, tmp_path / "out")
    assert "it continues; if memory ran out, use fewer --workers" in caught.value.hint
    assert_nothing_half_made(tmp_path / "out")
    assert not list(tmp_path.glob("out/**/*.tmp-*"))


def test_a_video_that_crashes_or_hangs_the_decoder_is_skipped(tmp_path: Path) -> None:
    samples = make_samples(tmp_path / "videos", 9)
    samples[1] = replace(samples[1], video=Dies(signal.SIGSEGV))
    samples[4] = replace(samples[4], video=Hangs())
    samples[5] = replace(samples[5], video=Dies(signal.SIGABRT))
    summary = shard(samples, tmp_path / "out", time_limit_s=0.6, max_skipped=0.5)
    assert summary.skipped == {"crashed": 2, "timeout": 1}
    skipped = (tmp_path / "out" / "skipped.jsonl").read_text()
    assert "the decoder died of it (SIGSEGV)" in skipped
    assert "it was not decoded within 0.6 s" in skipped
    index = ShardIndex.open(tmp_path / "out")
    assert [index.key(i) for i in range(6)] == [f"clip-{i:03}" for i in (0, 2, 3, 6, 7, 8)]


def test_a_bug_names_the_video_and_shows_where(tmp_path: Path) -> None:
    samples = make_samples(tmp_path / "videos", 3)
    samples[2] = replace(samples[2], video=Fails())
    with pytest.raises(WorkError, match=r"clip-002 \(clip-002\.mp4\) made KeyError: 'no such thing'") as caught:
        shard(samples, tmp_path / "out", workers=1)
    assert "in __call__" in str(caught.value.__cause__)


def test_a_full_disk(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk: the third shard is too large for it."""
    samples = make_samples(tmp_path / "videos", 9)
    big = tmp_path / "big.mp4"
    assert isinstance(samples[7].video, Path)
    big.write_bytes(samples[7].video.read_bytes() + bytes([0, 1, 0, 0, *b"free"]) + bytes(65528))
    samples[7] = replace(samples[7], video=big)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, hard))
    try:
        with pytest.raises(
            WorkError, match=r"no room left in .*out while writing 000002\.tar \(File too large\)"
        ) as caught:
            shard(samples, tmp_path / "out", workers=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.exit_code == 1
    assert "make room and run the same command again" in caught.value.hint
    assert sorted(path.name for path in (tmp_path / "out").glob("**/*.tar*")) == ["000000.tar", "000001.tar"]
    assert_nothing_half_made(tmp_path / "out")
    summary = shard(samples, tmp_path / "out", workers=1)
    assert (summary.samples, summary.continued) == (9, 2)


def test_it_works_from_a_thread(tmp_path: Path) -> None:
    found: list[int] = []
    samples = make_samples(tmp_path / "videos", 3)
    thread = threading.Thread(target=lambda: found.append(shard(samples, tmp_path / "out").samples))
    thread.start()
    thread.join(60)
    assert found == [3]


def test_a_script_without_a_main_guard_is_told_so(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(HERE)!r})\n"
        "from pathlib import Path\n"
        "from test_shards_interrupted import make_samples, shard\n"
        f"shard(make_samples(Path({str(tmp_path)!r}), 2), Path({str(tmp_path / 'out')!r}))\n"
    )
    done = subprocess.run([sys.executable, str(script)], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert 'call vtr under `if __name__ == "__main__":`' in done.stderr
