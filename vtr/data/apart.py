"""One process under watch that decodes what it is asked for: pictures of pages and sheets, the clip of a query.

A hang or a crash in native code costs that process and the one video; whoever asked goes on. See crew.py.
"""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import wait
from threading import Event, Lock
from types import ModuleType
from typing import Any, Protocol, TypeAlias, TypeVar

from vtr import bounds
from vtr.data.crew import POLL_S, Beat, Worker
from vtr.errors import VideoError, VtrError, WorkError

R = TypeVar("R")
_Call: TypeAlias = tuple[Callable[..., Any], tuple[Any, ...]]
LIMIT_S = 60.0
LOST = ("timeout", "crashed")  # the kinds of errors that cost the process
PATIENCE = 3  # videos that a page or a sheet loses before it goes without the others' pictures
TODO = {
    "timeout": f"leave it out, convert it, or give it longer: --time-limit, or {bounds.NAME}=10 without that",
    "crashed": "leave it out, or convert it to another format",
}


class Decode(Protocol):
    """`decode(function, *given)` is `function(*given)`: `here`, or by a `Decoder`."""

    def __call__(self, function: Callable[..., R], *given: Any) -> R: ...


def here(function: Callable[..., R], *given: Any) -> R:
    """`function(*given)` in this process, where nobody watches."""
    return function(*given)


class Decoder:
    """`decoder(function, *given)` is `function(*given)`, done by a process that starts with the first call and stays.

    `function`, `given` and the result must pickle; a function from a module that needs no torch starts soonest. Any
    thread may call. Raises what `function` does, VideoError `timeout` after `time_limit_s` and `crashed`, and WorkError
    when the process is killed from outside. With `patience`, after so many of these losses all else is `left-out`
    without being tried.
    """

    def __init__(self, time_limit_s: float = LIMIT_S, patience: int | None = None) -> None:
        self._time_limit_s, self._patience = time_limit_s, patience
        self._worker: Worker[_Call, Any] | None = None
        self._lock, self._closed = Lock(), Event()
        self._losses = self.left_out = 0  # `left_out` calls were not tried

    def __enter__(self) -> Decoder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the process; a call that waits for it ends in an error, and so does any further one."""
        self.refuse()
        with self._lock:
            worker, self._worker = self._worker, None
            if worker is not None:
                worker.end()

    def refuse(self) -> None:
        """Has all calls end in an error, that under way too; waits for nothing, so that a signal's handler may."""
        self._closed.set()

    def __call__(self, function: Callable[..., R], *given: Any) -> R:
        if multiprocessing.current_process().daemon:
            return function(*given)  # such a process may start none, and whoever started it can end it
        with self._lock:
            if self._closed.is_set():
                raise _closed()
            if self._patience is not None and self._losses >= self._patience:
                self.left_out += 1
                raise VideoError("left-out", f"not tried: {self._losses} others hung or crashed the decoder before it")
            worker, self._worker = self._ready(), None
            try:
                worker.give((function, given))
                answer = self._answer(worker)
            except BaseException:  # it is lost, or at work for nobody after a Ctrl-C
                worker.end()
                raise
            self._worker = worker
        if isinstance(answer, VtrError):
            raise answer
        found: R = answer
        return found

    def _ready(self) -> Worker[_Call, Any]:
        """The process; another one where it was killed while it had nothing to do, which costs nobody anything."""
        if self._worker is not None and not self._worker.process.is_alive():
            self._worker.end()
            self._worker = None
        return self._worker or _start()

    def _answer(self, worker: Worker[_Call, Any]) -> Any:
        while True:
            if self._closed.is_set():
                raise _closed()
            ready = wait(worker.handles(), POLL_S)
            if worker.connection in ready and (answer := worker.take()) is not None:
                return answer[0]
            if (lost := worker.loss(self._time_limit_s)) is not None:
                kind, reason = lost.blame("a video", self._time_limit_s, "if memory ran out, end other programs")
                self._losses += 1
                raise VideoError(kind, reason, TODO[kind])


def without(left_out: int) -> str:
    """What to say of pictures that were not tried."""
    return f"{left_out} pictures were left out, since {PATIENCE} videos before them hung or crashed the decoder"


def _closed() -> WorkError:
    return WorkError("its decoder was ended", "ask again")


def processor_seconds(function: Callable[..., object], *given: Any) -> float:
    """What the call `function(*given)` takes of a processor, in the process that makes it."""
    begin = time.process_time()
    function(*given)
    return time.process_time() - begin


def _start() -> Worker[_Call, Any]:
    """A worker that does not import the script it is called from, which without a guard would run again there."""
    main, sys.modules["__main__"] = sys.modules["__main__"], ModuleType("__main__")
    try:
        return Worker(_done)
    finally:
        sys.modules["__main__"] = main


def _done(call: _Call, beat: Beat) -> Any:
    """In the worker: what the call gives, or its VtrError."""
    function, given = call
    try:
        with beat.native(0):
            return function(*given)
    except VtrError as error:
        return error
