"""A child process that leaves Ctrl-C to its parent, and does not outlive it."""

from __future__ import annotations

import multiprocessing
import signal
import threading
from multiprocessing.connection import wait


def obey_parent() -> None:
    """Ignores Ctrl-C, which reaches the whole group of processes, and ends this one with its parent.

    That holds even if the parent is killed while native code runs here: a child that lived on would hold its locks.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow, daemon=True).start()


def _follow() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        signal.raise_signal(signal.SIGKILL)
