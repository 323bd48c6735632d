"""Worker processes under a watch: every task is done once, and no worker outlives the work."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vtr.data.crew import Beat, Lost, run_tasks
from vtr.errors import InputError, VideoError, WorkError

FIRST = """
from pathlib import Path
from vtr.data.crew import Worker
from vtr.data.verify import verify_shard
worker = Worker(verify_shard)
print(Path(f"/proc/{worker.process.pid}/status").read_text())
worker.end()
"""


def square(task: int, beat: Beat) -> tuple[int, int]:
    with beat.native(task):
        return task * task, os.getpid()


def trouble(task: str, beat: Beat) -> str:
    """Does what the task says, unless it says that it was lost before."""
    with beat.native(7):
        if task == "hang":
            time.sleep(1000)
        elif task == "crash":
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            os.kill(os.getpid(), signal.SIGABRT)
        elif task == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif task == "video":
            raise VideoError("corrupt", "no good", "none")
        elif task == "greedy":
            bytearray(20 << 30)
        elif task == "odd":
            raise Odd(1, 2)
    return task


class Odd(Exception):
    """An exception that cannot be unpickled."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


def run(work: Callable[[Any, Beat], Any], tasks: list[Any], **options: Any) -> list[tuple[Any, Any]]:
    def on_lost(task: str, lost: Lost) -> str:
        assert lost.item == 7
        return f"{task} {lost.kind}"

    options = {"workers": 2, "time_limit_s": 30.0, "on_lost": on_lost, "on_tick": lambda items: None, **options}
    return list(run_tasks(work, tasks, **options))


def test_every_task_is_done_once_by_so_many_workers() -> None:
    done = run(square, list(range(50)))
    assert sorted((task, value) for task, (value, _) in done) == [(n, n * n) for n in range(50)]
    assert len({pid for _, (_, pid) in done}) <= 2
    assert run(square, []) == []
    assert len(run(square, [3], workers=5)) == 1


def test_without_workers_nothing_would_ever_be_done() -> None:
    for workers in (0, -1):
        with pytest.raises(InputError, match=rf"{workers} workers, at least 1 is needed\n.*leave --workers out"):
            run(square, [3], workers=workers)


def test_lost_workers_are_replaced() -> None:
    done = run(trouble, ["hang", "a", "crash", "b", "kill"], time_limit_s=0.3)
    assert sorted(value for _, value in done) == ["a", "b", "crash crashed", "hang timeout", "kill killed"]


def test_what_a_task_raises_is_raised_here() -> None:
    with pytest.raises(VideoError, match="no good") as caught:
        run(trouble, ["a", "video"])
    assert caught.value.kind == "corrupt"
    assert 'raise VideoError("corrupt"' in str(caught.value.__cause__)
    with pytest.raises(WorkError, match="Odd: 1 and 2"):
        run(trouble, ["odd"])


def test_no_worker_outlives_the_work() -> None:
    results = run_tasks(
        square, range(8), workers=2, time_limit_s=9, on_lost=lambda task, lost: task, on_tick=lambda items: None
    )
    _, (_, pid) = next(results)
    results.close()
    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere memory is not bounded")
def test_a_worker_that_takes_too_much_memory() -> None:
    """It is told so before it has the memory, and the one item pays."""
    with pytest.raises(VideoError, match="it takes more than the 8 GB of memory that a worker may have") as caught:
        run(trouble, ["greedy"], workers=1)
    assert caught.value.kind == "too-large"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_ctrl_c_never_reaches_the_first_worker_of_a_process() -> None:
    """What multiprocessing starts along with it lets signals through that were held; a traceback ended each Ctrl-C."""
    done = subprocess.run([sys.executable, "-c", FIRST], capture_output=True, text=True, check=True, timeout=60)
    masks = [int(line.split()[1], 16) for line in done.stdout.splitlines() if line.startswith(("SigBlk", "SigIgn"))]
    assert any(mask >> (signal.SIGINT - 1) & 1 for mask in masks), "held, or ignored already"
