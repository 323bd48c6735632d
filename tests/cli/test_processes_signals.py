"""Signals to trainings in several processes with decoding workers: to all at once, to the launcher, and its kill."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_helpers import rows
from process_helpers import ACCELERATE, TWO, alive, command, end_all, spawn, start, wait_for

from vtr import checkpoint

GIVEN = ("--workers", 1, "--steps", 100000, "--set", "train.save_every=1000000")


@pytest.fixture
def out(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "run"
    end_all(tmp_path / "run")


def trains(process: subprocess.Popen[str], out: Path, processes: int) -> None:
    """Waits until it does, with a decoding worker for each of `processes`."""
    wait_for(lambda: process.poll() is not None or len(rows(out)) >= 3, "steps")
    assert process.poll() is None, process.communicate()
    assert len(alive(out)) >= 2 * processes


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_signal_to_all_processes_saves(nano: Path, shards: Path, out: Path, number: int) -> None:
    # They agree on stopping at every tenth step: for that long what is decoded ahead does not last.
    process = start(nano, shards, out, *GIVEN, "--num-processes", 2, "--set", "train.log_every=10")
    trains(process, out, 2)
    os.killpg(process.pid, number)  # the launcher, both that train and both that decode
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "saved as" in stderr
    assert checkpoint.newest(out) is not None
    wait_for(lambda: not alive(out), "end of the workers", 30)


@pytest.mark.slow
def test_a_killed_training_leaves_no_workers(nano: Path, shards: Path, out: Path) -> None:
    process = start(nano, shards, out, *GIVEN[2:], "--workers", 3)
    trains(process, out, 1)
    process.kill()
    process.communicate(timeout=60)
    wait_for(lambda: not alive(out), "end of the workers", 30)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGKILL])
def test_a_signal_to_accelerate_s_launcher_saves(nano: Path, shards: Path, out: Path, number: int) -> None:
    process = spawn([*ACCELERATE, *TWO, *command(nano, shards, out, *GIVEN)[1:]])
    trains(process, out, 2)
    process.send_signal(number)
    wait_for(lambda: not alive(out), "end of those that train", 60)
    process.communicate(timeout=60)
    assert checkpoint.newest(out) is not None, "they saved"


@pytest.mark.slow
def test_a_signal_to_accelerate_s_launcher_of_one_process_saves(nano: Path, shards: Path, out: Path) -> None:
    one = ["--cpu", "--num_processes", "1", "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    process = spawn([*ACCELERATE, *one, "-m", "vtr", *command(nano, shards, out, *GIVEN)[1:]])
    trains(process, out, 1)
    process.send_signal(signal.SIGTERM)
    wait_for(lambda: not alive(out), "end of the one that trains", 60)
    process.communicate(timeout=60)
    assert checkpoint.newest(out) is not None, "it saved"
