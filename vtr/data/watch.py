"""Torch's decoding workers under a watch: one that hangs or crashes in native code costs a sample, not the run.

A worker writes into shared memory which sample it decodes, and since when. No signal can interrupt a decoder that
hangs, so a thread of the parent ends the whole worker; who asked for its work then starts workers anew.
"""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from vtr.data.crew import CRASHES, POLL_S, Beat


class Watch:
    """The beats of `workers` processes; `lost()` after one of them has ended says which samples it was at."""

    def __init__(self, workers: int, time_limit_s: float) -> None:
        self.time_limit_s = time_limit_s
        self.memory = [multiprocessing.RawArray("d", 2) for _ in range(workers)]
        self._late: dict[int, int] = {}
        self._end = threading.Event()

    @contextmanager
    def over(self, processes: list[Any]) -> Iterator[None]:
        """Ends those of `processes` (in the order of their numbers) that decode one sample for too long."""
        thread = threading.Thread(target=self._look, args=(processes,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._end.set()
            thread.join()

    def lost(self, processes: list[Any]) -> dict[int, str]:
        """{sample: "timeout" | "crashed"} of those that have ended by the fault of what they decoded."""
        found = dict.fromkeys(self._late.values(), "timeout")
        for number, process in enumerate(processes):
            beat = Beat(self.memory[number])
            if number not in self._late and process.exitcode in CRASHES and beat.busy_s():
                found[beat.item] = "crashed"
        return found

    def _look(self, processes: list[Any]) -> None:
        beats = [Beat(memory) for memory in self.memory]
        while not self._end.wait(POLL_S):
            for number, (beat, process) in enumerate(zip(beats, processes, strict=True)):
                item = beat.item
                # Read before and after: a worker that goes on just now must not be judged by its next sample.
                late = beat.busy_s() > self.time_limit_s and beat.item == item
                if late and number not in self._late and process.is_alive():  # a dead one's clock runs on
                    self._late[number] = item
                    process.kill()


def native(beat: Beat | None, sample: int) -> AbstractContextManager[None]:
    """`beat.native(sample)`; nothing where nobody watches."""
    return nullcontext() if beat is None else beat.native(sample)


@contextmanager
def quiet_children() -> Iterator[None]:
    """Takes torch's handler of SIGCHLD back, which would raise in the middle of whatever the main thread does.

    That a worker has ended is then found where its work is waited for. Around the making of workers.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGCHLD)
    try:
        yield
    finally:
        ours = before is not None and "torch" not in getattr(before, "__module__", "")
        signal.signal(signal.SIGCHLD, before if ours else signal.SIG_DFL)
