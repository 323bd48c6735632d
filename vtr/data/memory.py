"""The memory of a process: what a worker frees stays with it, and it has an end.

Files and frames come and go by the megabyte, and new pages cost faults. What a hostile video may ask for is bounded by
`limits`; but an index can raise these, and a decoder may have faults of its own, so each worker has a bound as well.
"""

from __future__ import annotations

import ctypes
import errno
import resource
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vtr import bounds
from vtr.errors import WorkError

ROOM = 8 << 30  # bytes, raised with the other `bounds`: forty pictures of 64 million pixels

_mine, _lock = threading.local(), threading.Lock()
_wanted: list[int] = []  # the bounds of all threads that are in `within`
_usual: list[int] = []  # the bound before the first of them


def keep_memory() -> None:
    """Tells glibc to keep what is freed, in this process; other C libraries are left as they are."""
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        m_trim_threshold, m_mmap_threshold = -1, -3
        mallopt(m_trim_threshold, 1 << 28)
        mallopt(m_mmap_threshold, 1 << 25)


def check_shared(context: Any, locks: int) -> None:
    """Raises WorkError where there is no room for so many locks of processes of a multiprocessing `context`.

    Torch, or whoever asks for the first one that has no room, would call it a full disk.
    """
    try:
        held = [context.Lock() for _ in range(locks)]
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise WorkError(
            "no room left in /dev/shm, through which processes hear of one another",
            "make room there (of a container: --shm-size), or do without them: --workers 0, one process",
        ) from error
    del held


def bound_memory(room: int | None = None) -> None:
    """Lets this process have `room` bytes more than it has, beside memory that is shared; then it gets MemoryErrors.

    Without `room` they are ROOM, or more where the limits are raised.
    On Linux; elsewhere the system does not count what a process allocates, and nothing is bounded.
    """
    if sys.platform == "linux":
        _limit(_held() + (bounds.at_most(ROOM) if room is None else room))


@contextmanager
def within(room: int) -> Iterator[None]:
    """Lets this process have `room` bytes more than it has, until the end; past them, it gets MemoryErrors.

    What is nested in another such bound keeps that one's. Of two threads the larger bound holds. Only on Linux.
    """
    if sys.platform != "linux" or getattr(_mine, "bounded", False):
        yield
        return
    wanted = _held() + room
    with _lock:
        if not _wanted:
            _usual.append(resource.getrlimit(resource.RLIMIT_DATA)[0])
        _wanted.append(wanted)
        _lower(_usual[0])
    _mine.bounded = True
    try:
        yield
    finally:
        _mine.bounded = False
        with _lock:
            _wanted.remove(wanted)
            _lower(_usual[0] if _wanted else _usual.pop())


def _lower(usual: int) -> None:
    """Puts the bound at the largest that is wanted, or where it is usually; never above that."""
    most = max(_wanted, default=usual)
    _limit(most if usual == resource.RLIM_INFINITY else min(most, usual))


def _held() -> int:
    """The bytes of memory of its own that this process has."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return int(status["VmData"].split()[0]) << 10


def _limit(wanted: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    beyond = hard != resource.RLIM_INFINITY and (wanted == resource.RLIM_INFINITY or wanted > hard)
    resource.setrlimit(resource.RLIMIT_DATA, (hard if beyond else wanted, hard))
