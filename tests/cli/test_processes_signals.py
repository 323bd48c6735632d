"""Signals to trainings in several processes with decoding workers: to all at once, to the launcher, and its kill."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import time
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
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP])
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


@pytest.mark.parametrize(("number", "processes"), [(signal.SIGTERM, 1), (signal.SIGUSR1, 2)])
def test_a_signal_while_it_is_set_up(nano: Path, shards: Path, out: Path, number: int, processes: int) -> None:
    """In several processes one of them may wait in torch for the others, where Python hears nothing."""
    given = ("--num-processes", processes) if processes > 1 else ()
    for delay in (0.6, 2.0):
        process = start(nano, shards, out, *GIVEN[2:], *given)
        time.sleep(delay)
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=60)
        assert process.returncode == 130, (delay, stderr)
        assert stdout == ""
        assert "error: " in stderr
        assert "hint: " in stderr
        assert "Traceback" not in stderr
        wait_for(lambda: not alive(out), "end of those that were started", 30)


def test_a_launcher_that_is_gone_before_its_child_has_looked(nano: Path, shards: Path, out: Path) -> None:
    """The child is process 1's from its first line on; the launcher's name in its environment tells that it was not."""
    if Path(os.fsdecode(Path("/proc/1/cmdline").read_bytes().split(b"\0")[0])).name.startswith("python"):
        pytest.skip("process 1 may be a launcher here")
    line = shlex.join(command(nano, shards, out, *GIVEN[2:]))
    log = out.with_name("log")
    log.touch()
    orphan = f"(sleep 0.5; exec {line}) > {log} 2>&1 & exit 0"
    environment = {**os.environ, "ACCELERATE_DYNAMO_USE_FULLGRAPH": "False"}
    subprocess.run(["sh", "-c", orphan], env=environment, timeout=30, check=True, start_new_session=True)
    wait_for(lambda: re.search("^error: (interrupted|stopped at step)", log.read_text(), re.M), "end", 60)
    wait_for(lambda: not alive(out), "end", 30)
