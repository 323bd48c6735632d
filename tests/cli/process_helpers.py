"""Trainings in several real processes, and how they are watched."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch
from cli_helpers import VTR
from safetensors.torch import load_file

from vtr import checkpoint

ACCELERATE = [str(Path(sys.executable).with_name("accelerate")), "launch"]
# Two processes on a CPU: without a GPU accelerate takes --num_processes 2 alone for one.
TWO = ["--multi_gpu", "--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend",
       "no", "--main_process_port", "0", "-m", "vtr"]  # fmt: skip


def command(nano: Path, shards: Path, out: Path, *more: object) -> list[str]:
    return [VTR, "pretrain", str(nano), "--shards", str(shards), "--out", str(out), *map(str, more)]


def start(*arguments, **how) -> subprocess.Popen[str]:
    return spawn(command(*arguments), **how)


def spawn(line: list[str], **how) -> subprocess.Popen[str]:
    """As the leader of its own group."""
    return subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, **how
    )


def same_weights(a: Path, b: Path) -> None:
    wanted, found = (load_file(checkpoint.newest(at) / "model.safetensors") for at in (a, b))
    assert found.keys() == wanted.keys()
    # Attention does not depend on a key's bias: its gradient is rounding alone, which AdamW scales up.
    for name, value in wanted.items():
        if name.endswith("k_lin.bias"):
            continue
        both = value, found[name]
        if name.endswith("qkv.bias"):
            both = tuple(torch.cat([each.chunk(3)[0], each.chunk(3)[2]]) for each in both)
        torch.testing.assert_close(*both, rtol=1e-3, atol=2e-5, msg=name)


def wait_for(condition, what: str, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"no {what} after {seconds} s"
        time.sleep(0.05)


def child(process: subprocess.Popen[str], rank: int) -> int:
    """The process id of one of the launcher's own children."""
    tasks = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for task in tasks:
        if f"\0RANK={rank}\0" in "\0" + Path(f"/proc/{task}/environ").read_text():
            return int(task)
    raise AssertionError(f"no rank {rank} among {tasks}")


def alive(run: Path) -> list[int]:
    """The processes that have this run's directory in their command line: who trains it, and who decodes for them."""
    found = []
    for place in Path("/proc").iterdir():
        try:
            line = (place / "cmdline").read_bytes().split(b"\0") if place.name.isdigit() else []
            zombie = bool(line) and (place / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except OSError:  # it has just ended
            continue
        if str(run).encode() in line and not zombie:
            found.append(int(place.name))
    return found


def end_all(run: Path) -> None:
    """Kills what a test that failed has left."""
    for process in alive(run):
        try:
            os.kill(process, signal.SIGKILL)
        except ProcessLookupError:
            continue
