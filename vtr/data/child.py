"""A child process that leaves signals to its parent, and does not outlive it."""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait

# What is sent to a whole group of processes: by a terminal, at its end too; by `timeout`, batch systems and launchers.
TO_ALL = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)


@contextmanager
def signals_held(numbers: tuple[signal.Signals, ...] = TO_ALL) -> Iterator[None]:
    """Around the start of children, which begin with their parent's mask: none reaches them before `obey_parent`."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def obey_parent(deaf_to: tuple[signal.Signals, ...] = (signal.SIGINT,)) -> None:
    """Ignores Ctrl-C, which reaches the whole group of processes, and ends this one with its parent.

    That holds even if the parent is killed while native code runs here: a child that lived on would hold its locks.
    `deaf_to` are the signals to ignore, at the start and where `signals_held` kept them.
    """
    for number in deaf_to:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, deaf_to)
    threading.Thread(target=_follow, daemon=True).start()


def _follow() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        signal.raise_signal(signal.SIGKILL)
