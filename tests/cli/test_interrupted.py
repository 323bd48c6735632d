"""Real processes that are stopped: by Ctrl-C, by kill -9, together; what they leave goes on as if nothing had been."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cli_helpers import VTR, rows

from vtr import api, checkpoint, recipe

STEPS = 60
FILES = ("model.safetensors", "state/optimizer.pt", "state/trainer.json", "tokenizer/tokenizer.json")


def last(run: Path) -> dict[str, bytes]:
    path = checkpoint.newest(run)
    assert path is not None
    return {name: (path / name).read_bytes() for name in FILES}


def start(nano: Path, shards: Path, out: Path, save_every: int) -> subprocess.Popen[str]:
    """`vtr pretrain` as the leader of its own group, with one decoding worker."""
    given = ["--steps", STEPS, "--workers", 1, "--set", f"train.save_every={save_every}"]
    command = [VTR, "pretrain", nano, "--shards", shards, "--out", out, *given]
    return subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def wait_for(condition, what: str, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"no {what} after {seconds} s"
        time.sleep(0.01)


def group_is_gone(process: subprocess.Popen[str]) -> bool:
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.fixture(scope="module")
def undisturbed(nano: Path, shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    api.pretrain(recipe.override(recipe.load(str(nano)), {"train.steps": STEPS}), shards, out)
    return out


def go_on(nano: Path, shards: Path, out: Path) -> None:
    api.pretrain(recipe.override(recipe.load(str(nano)), {"train.steps": STEPS}), shards, out)


def test_ctrl_c_saves_and_exits_130(nano: Path, shards: Path, tmp_path: Path, undisturbed: Path) -> None:
    out = tmp_path / "run"
    process = start(nano, shards, out, save_every=10**6)
    wait_for(lambda: len(rows(out)) >= 3, "steps")
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers too
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 130
    assert stdout == ""
    (saved,) = checkpoint.steps(out)
    step = int(saved.name[5:])
    sizes, *progress, error, hint = stderr.splitlines()
    assert sizes == "batch 8 = 8 a process x 1 process x 1 piece"
    assert error == f"error: stopped at step {step} of {STEPS}, saved as {saved}"
    assert hint == "hint: run the same command to go on"
    assert all(re.match(r"step \d+/60  loss ", line) for line in progress), stderr
    assert group_is_gone(process)
    go_on(nano, shards, out)
    assert last(out) == last(undisturbed)
    assert [row["loss"] for row in rows(out)] == [row["loss"] for row in rows(undisturbed)]


def test_a_sigterm_to_all_processes_saves(nano: Path, shards: Path, tmp_path: Path, undisturbed: Path) -> None:
    out = tmp_path / "run"
    process = start(nano, shards, out, save_every=10**6)
    wait_for(lambda: len(rows(out)) >= 3, "steps")
    os.killpg(process.pid, signal.SIGTERM)  # as `timeout` and batch systems do
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 130, stderr
    assert "saved as" in stderr
    go_on(nano, shards, out)
    assert last(out) == last(undisturbed)


def test_whoever_reads_what_is_said_may_leave(nano: Path, shards: Path, tmp_path: Path, undisturbed: Path) -> None:
    """As in `2>&1 | head -1`; and then its terminal is closed."""
    out = tmp_path / "run"
    process = start(nano, shards, out, save_every=10**6)
    assert process.stderr is not None
    assert process.stderr.readline() == "batch 8 = 8 a process x 1 process x 1 piece\n"
    process.stderr.close()
    process.stderr = None
    wait_for(lambda: len(rows(out)) >= 20, "steps")
    os.killpg(process.pid, signal.SIGHUP)  # the workers hear it too
    stdout, _ = process.communicate(timeout=120)
    assert process.returncode == 130
    assert stdout == ""
    assert checkpoint.newest(out) is not None
    wait_for(lambda: group_is_gone(process), "end of the worker", 30)
    go_on(nano, shards, out)
    assert last(out) == last(undisturbed)


def test_ctrl_c_while_it_starts() -> None:
    """At any moment from our first line on: an exit with 130 and no traceback, libraries half loaded or not."""
    for delay in (0.15, 0.4, 1.0, 2.0):
        command = [VTR, "eval", "nowhere", "--shards", "nowhere"]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
        if before_our_first_line(stderr):
            continue
        assert "Traceback" not in stderr, (delay, stderr)
        # 2: it had got as far as finding no such run. Before Python has a handler of its own, and when it has given it
        # back with all work done and said, the signal itself ends the process.
        done = not stderr or "nowhere" in stderr
        assert process.returncode in (130, 2) or (process.returncode == -signal.SIGINT and done), (delay, stderr)


def before_our_first_line(stderr: str) -> bool:
    """Python was still starting, or looking for the package: no handler of ours can be there yet."""
    return "Traceback" in stderr and not re.search(r'__main__\.py", line \d+, in main', stderr)


@pytest.mark.slow
def test_kill_9_loses_what_was_not_saved_and_no_more(
    nano: Path, shards: Path, tmp_path: Path, undisturbed: Path
) -> None:
    out = tmp_path / "run"
    process = start(nano, shards, out, save_every=2)
    wait_for(lambda: len(rows(out)) >= 7, "steps")
    process.kill()
    process.wait(60)
    if process.stderr and process.stdout:
        process.stderr.close()
        process.stdout.close()
    wait_for(lambda: group_is_gone(process), "end of the orphaned worker", 30)  # it would hold the run's lock
    assert checkpoint.newest(out) is not None
    go_on(nano, shards, out)
    assert last(out) == last(undisturbed)
    assert [row["loss"] for row in rows(out)] == [row["loss"] for row in rows(undisturbed)]
    assert not [path for path in (out / "checkpoints").iterdir() if path.name.startswith(".")]


def test_two_commands_on_one_out(nano: Path, shards: Path, tmp_path: Path) -> None:
    from vtr.atomic import locked
    from vtr.errors import InputError

    with (
        locked(tmp_path / ".run.lock", "run"),
        pytest.raises(InputError, match=r"run is being written by another process\n.*wait until it ends"),
    ):
        go_on(nano, shards, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_two_processes_take_up_the_run_of_one(nano: Path, shards: Path, run: Path, tmp_path: Path) -> None:
    """Another world size goes on with the same batches; a step's loss is that of the whole batch on every process."""
    out = shutil.copytree(run, tmp_path / "run")
    shutil.rmtree(out / "checkpoints" / "step-00000006")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "vtr"]
    command = [*launch, "pretrain", str(nano), "--shards", str(shards), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert [row["step"] for row in rows(out)] == [1, 2, 3, 4, 5, 6]
    for key in ("loss", "gradient_norm"):
        assert [row[key] for row in rows(out)] == pytest.approx([row[key] for row in rows(run)], rel=1e-3)
    assert checkpoint.newest(out).name == "step-00000006"
