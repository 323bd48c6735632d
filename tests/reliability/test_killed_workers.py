"""A worker that is killed from outside, as the kernel does it when memory runs out: an error, and nothing half made."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_faults import children

CPU = ("--device", "cpu", "--precision", "fp32")
# Loaded before ffmpeg: a decoder that says where it is and waits, so that it is known what the worker is at.
LIBRARY = """
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
int avcodec_send_packet(void *context, const void *packet) {
    (void)context, (void)packet;
    close(open(getenv("DECODER_AT_WORK"), O_CREAT | O_WRONLY, 0600));
    for (;;) sleep(1000);
}
"""


def descendants(pid: int) -> list[int]:
    """Those that work; not Python's own tracker of semaphores, which takes no memory."""
    found = []
    for child in children(pid):
        if b"resource_tracker" not in Path(f"/proc/{child}/cmdline").read_bytes():
            found += [child, *descendants(child)]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["shard", "eval", "embed", "spans", "videos", "verify", "like", "processes"])
def test_a_worker_that_is_killed(
    verb: str, library: Path, clip: bytes, shards: Path, test_shards: Path, run: Path, embeddings: Path, tmp_path: Path
) -> None:
    out, videos, at_work = tmp_path / "out", tmp_path / "v", tmp_path / "at-work"
    videos.mkdir()
    (videos / "a.mp4").write_bytes(clip)
    (videos / "a.txt").write_text("a dog")
    embed = ("embed", run, "--out", out, "--workers", 1, *CPU)
    command, words = {
        "shard": (
            ("shard", "folder", videos, out, "--workers", 1),
            "a worker process was killed (SIGKILL) while at sample a (",
        ),
        "eval": (("eval", run, "--shards", test_shards, "--workers", 1, "--out", out, *CPU), "a decoding process"),
        "embed": ((*embed, "--shards", test_shards), "a decoding process"),
        "spans": ((*embed, "--shards", test_shards, "--segments", "0.4s"), "was killed (SIGKILL) while at"),
        "videos": ((*embed, "--videos", videos), f"was killed (SIGKILL) while at {videos / 'a.mp4'}"),
        "verify": (("inspect", test_shards, "--verify", "--workers", 1), "was killed (SIGKILL) while at shard 0"),
        "like": (("search", embeddings, "--like", videos / "a.mp4", "--device", "cpu"), "(SIGKILL) while at a video"),
        "processes": ((*embed, "--shards", shards, "--num-processes", 2), "ended"),
    }[verb]
    environment = {**os.environ, "LD_PRELOAD": str(library), "DECODER_AT_WORK": str(at_work)}
    process = subprocess.Popen(
        [sys.executable, "-m", "vtr", *map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environment,
    )  # fmt: skip
    end = time.monotonic() + 120
    while not at_work.exists():
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        assert time.monotonic() < end
        time.sleep(0.05)
    for child in reversed(descendants(process.pid)):
        os.kill(child, signal.SIGKILL)
    _, err = process.communicate(timeout=120)
    assert "Traceback" not in err, err
    assert process.returncode == 1, err
    # Python's own tracker may tell after that of semaphores whose owners were killed.
    lines = err.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("error: "))
    error, hint = lines[at : at + 2]
    assert words in error
    assert "if memory ran out" in hint
    assert [path for path in out.rglob("*") if path.is_file() and path.suffix in (".tar", ".parquet", ".npy")] == []
