"""Child processes that do tasks one at a time under a watch: a hang or a crash in native code costs a process, not us.

A task is a list of items; before a worker enters native code it writes the item's number and the time into memory that
the parent reads. No signal can interrupt a decoder that hangs, so the parent ends the whole process and starts another.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

from vtr import bounds
from vtr.data.child import obey_parent, signals_held
from vtr.data.memory import ROOM, bound_memory, keep_memory
from vtr.errors import InputError, VideoError, WorkError

T = TypeVar("T")
R = TypeVar("R")
POLL_S = 0.2
AGAIN = "run the same command again, it continues; if memory ran out, use fewer --workers"
# What native code dies of by its own fault; SIGKILL comes from outside (a person, or the kernel out of memory).
CRASHES = {-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS, -signal.SIGILL, -signal.SIGFPE}


class Beat:
    """What a worker is at, in memory shared with its parent: [item, when native code was entered or 0]."""

    def __init__(self, memory: Any) -> None:
        self._memory = memory

    @contextlib.contextmanager
    def native(self, item: int) -> Iterator[None]:
        """Marks the time spent in native code on `item` of the task; the time limit counts this alone.

        Raises VideoError `too-large` when memory runs out there.
        """
        self._memory[0], self._memory[1] = item, time.monotonic()
        try:
            yield
        except MemoryError as error:
            room = bounds.at_most(ROOM) >> 30
            raise VideoError(
                "too-large",
                f"it takes more than the {room} GB of memory that a worker may have",
                f"leave it out; {bounds.HINT}",
            ) from error
        finally:
            self._memory[1] = 0.0

    @property
    def item(self) -> int:
        """The last item that was begun."""
        return int(self._memory[0])

    def busy_s(self) -> float:
        """Seconds since native code was entered; 0 outside it."""
        since = float(self._memory[1])
        return time.monotonic() - since if since else 0.0

    def reset(self) -> None:
        """Back to the start of a task."""
        self._memory[0] = self._memory[1] = 0.0


def cores() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_workers(workers: int) -> None:
    """Raises InputError for what can be no number of workers."""
    if workers < 1:
        raise InputError(f"{workers} workers, at least 1 is needed", "leave --workers out for one a processor")


@dataclass(frozen=True)
class Lost:
    """A worker that ended amid a task. `kind`: `timeout` (ended by us), `crashed` (in native code) or `killed`."""

    kind: str
    item: int
    exitcode: int | None

    def blame(self, at: str, time_limit_s: float, todo: str = AGAIN) -> tuple[str, str]:
        """(kind, reason) of the item that hung or crashed its worker. Raises WorkError where it is not to blame.

        `at` names the item, and `todo` what to do, to whoever reads that a worker was killed from outside.
        """
        if self.kind == "timeout":
            return self.kind, f"it was not decoded within {time_limit_s:g} s"
        try:
            ended = signal.Signals(-(self.exitcode or 0)).name
        except ValueError:
            ended = f"exit code {self.exitcode}"
        if self.kind == "crashed":
            return self.kind, f"the decoder died of it ({ended})"
        raise WorkError(f"a worker process was killed ({ended}) while at {at}", todo)


def run_tasks(
    work: Callable[[T, Beat], R],
    tasks: Iterable[T],
    *,
    workers: int,
    time_limit_s: float,
    on_lost: Callable[[T, Lost], T],
    on_tick: Callable[[int], None],
) -> Generator[tuple[T, R]]:
    """Yields (task, `work(task, beat)`) as tasks end, in any order; `work`, tasks and results must pickle.

    When a worker is lost, `on_lost(task, lost)` returns the task to do in its stead, or raises. `on_tick(items)` is
    called a few times a second with the number of items begun in the tasks under way. However this ends (an exception
    of a task, which is raised here, Ctrl-C, a generator that is closed), no worker outlives it.
    Raises InputError for fewer than 1 worker.
    """
    check_workers(workers)
    waiting = deque(tasks)
    crew: list[Worker[T, R]] = []
    try:
        while len(crew) < min(workers, len(waiting)):
            crew.append(Worker(work))
        while waiting or any(worker.task is not None for worker in crew):
            for worker in crew:
                if worker.task is None and waiting:
                    worker.give(waiting.popleft())
            ready = wait([handle for worker in crew for handle in worker.handles()], POLL_S)
            for worker in list(crew):
                if worker.task is None:
                    continue
                task = worker.task
                if worker.connection in ready and (answer := worker.take()) is not None:
                    yield task, answer[0]
                elif (lost := worker.loss(time_limit_s)) is not None:
                    crew.remove(worker)
                    worker.end()
                    waiting.appendleft(on_lost(task, lost))
                    crew.append(Worker(work))
            on_tick(sum(worker.beat.item for worker in crew if worker.task is not None))
    finally:
        for worker in crew:
            worker.end()


class Worker(Generic[T, R]):
    """The parent's side of one child process."""

    def __init__(self, work: Callable[[T, Beat], R]) -> None:
        context = multiprocessing.get_context("spawn")  # fork would copy locks and decoders in unknown states
        self.connection, theirs = context.Pipe()
        memory = context.RawArray("d", 2)
        self.beat = Beat(memory)
        self.task: T | None = None
        self.started = self.silent = False
        self.process = context.Process(target=_serve, args=(theirs, memory, work), daemon=True)
        resource_tracker.ensure_running()  # else the start does it, which lets through the signals that are held
        with signals_held((signal.SIGINT,)):
            self.process.start()
        theirs.close()

    def handles(self) -> list[Any]:
        return [self.connection, self.process.sentinel] if self.task is not None else []

    def give(self, task: T) -> None:
        self.beat.reset()
        self.task = task
        with contextlib.suppress(BrokenPipeError):  # a worker that is gone is found by `loss`
            self.connection.send(task)

    def take(self) -> tuple[R] | None:
        """The result as a 1-tuple; None when there is none yet. Raises what the task raised."""
        try:
            kind, value, text = self.connection.recv()
        except (EOFError, OSError):  # it may be cut amid a message
            self.silent = True
            return None
        self.started = True
        if kind == "error":
            raise value from RuntimeError(f"in a worker process:\n{text}")
        if kind == "ready":
            return None
        self.task = None
        return (value,)

    def loss(self, time_limit_s: float) -> Lost | None:
        """How this worker was lost, if it was. One that is dead but has answers left to `take` is not, yet."""
        if self.process.is_alive() and not self.silent:
            late = self.beat.busy_s() > time_limit_s
            return Lost("timeout", self.beat.item, None) if late else None
        if not self.silent:
            return None
        self.process.join()  # its end of the pipe is closed, so it is about to be gone
        code = self.process.exitcode
        if not self.started:
            raise WorkError(
                f"a worker process ended before it began (exit code {code})",
                'in a script, call vtr under `if __name__ == "__main__":`, since workers import the script anew',
            )
        return Lost("crashed" if code in CRASHES and self.beat.busy_s() else "killed", self.beat.item, code)

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.process.close()
        self.connection.close()


def _serve(connection: Connection, memory: Any, work: Callable[[Any, Beat], Any]) -> None:
    """The child's side: does tasks until its parent is gone."""
    obey_parent()
    keep_memory()
    bound_memory()
    beat = Beat(memory)
    connection.send(("ready", None, ""))
    while True:
        try:
            task = connection.recv()
        except (EOFError, OSError):
            return
        try:
            answer = ("done", work(task, beat), "")
        except Exception as error:
            answer = ("error", _picklable(error), traceback.format_exc())
        beat.reset()
        connection.send(answer)


def _picklable(error: Exception) -> Exception:
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301  (our own exception, to see whether it survives)
    except Exception:
        return WorkError(f"{type(error).__name__}: {error}")
    return error
