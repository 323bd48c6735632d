"""The memory of a worker: what it frees stays with it, and it has an end.

Files and frames come and go by the megabyte, and new pages cost faults. What a hostile video may ask for is bounded by
`limits`; but an index can raise these, and a decoder may have faults of its own, so each worker has a bound as well.
"""

from __future__ import annotations

import ctypes
import errno
import resource
import sys
from pathlib import Path
from typing import Any

from vtr import bounds
from vtr.errors import WorkError

ROOM = 8 << 30  # bytes, raised with the other `bounds`: forty pictures of 64 million pixels


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
    if sys.platform != "linux":
        return
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    has = int(status["VmData"].split()[0]) << 10
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = has + (bounds.at_most(ROOM) if room is None else room)
    resource.setrlimit(resource.RLIMIT_DATA, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))
