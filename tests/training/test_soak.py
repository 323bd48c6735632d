"""Minutes of training hold memory and file descriptors flat; `VTR_SOAK_S=1800` makes it half an hour."""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

SECONDS, WARM_UP_LINES = int(os.environ.get("VTR_SOAK_S", "150")), 120


def family(pid: int) -> list[int]:
    """A process and all that it has started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(one for child in children for one in family(int(child)))]


def look(pid: int) -> tuple[int, int]:
    """(bytes in memory that are of no file, open file descriptors) of a process and its workers."""
    memory = descriptors = 0
    for one in family(pid):
        status = dict(
            line.split(":", 1) for line in Path(f"/proc/{one}/status").read_text().splitlines() if ":" in line
        )
        memory += int(status["RssAnon"].split()[0]) * 1024
        descriptors += len(os.listdir(f"/proc/{one}/fd"))  # noqa: PTH208
    return memory, descriptors


@pytest.mark.slow
def test_memory_and_descriptors_stay_flat(nano: Path, shards: Path, tmp_path: Path) -> None:
    given = ["--steps", "1000000", "--workers", "1", "--set", "train.save_every=50", "--set", "train.ema=0.9"]
    where = ["--shards", str(shards), "--out", str(tmp_path / "run")]
    command = [sys.executable, "-m", "vtr", "pretrain", str(nano), *where, *given]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, stderr=log, stdout=log)
        try:
            seen = []
            lines, end = tmp_path / "run" / "metrics.jsonl", time.monotonic() + 600
            while not lines.is_file() or lines.read_bytes().count(b"\n") < WARM_UP_LINES:
                assert process.poll() is None, (tmp_path / "log").read_text()
                assert time.monotonic() < end
                time.sleep(0.2)
            end = time.monotonic() + SECONDS
            while time.monotonic() < end:
                assert process.poll() is None, (tmp_path / "log").read_text()
                seen.append(look(process.pid))
                time.sleep(1)
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 130
    # Medians, for a checkpoint in the making holds a copy of the weights and some files for a moment.
    first, last = seen[: len(seen) // 3], seen[-len(seen) // 3 :]
    growth = statistics.median(m for m, _ in last) / statistics.median(m for m, _ in first) - 1
    opened = [statistics.median(d for _, d in part) for part in (first, last)]
    print(f"memory {growth:+.2%}, descriptors {opened[0]} -> {opened[1]}, {len(seen)} s")
    assert growth < 0.02
    assert opened[0] == opened[1]
