"""Signals as wishes: a run that is asked to stop finishes its step, saves, and says so."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

# Ctrl-C; what a scheduler sends before it kills; what Slurm is told to send ahead of the time limit; a terminal's end.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)


@dataclass
class Stop:
    """Whether this process was asked to stop."""

    asked: bool = False

    def agreed(self, accelerator: Any) -> bool:
        """Whether any process was: they leave the loop at the same step, or would wait for each other."""
        if accelerator.num_processes == 1:
            return self.asked
        return bool(accelerator.reduce(torch.tensor([float(self.asked)], device=accelerator.device)).item())


@contextmanager
def stopping() -> Iterator[Stop]:
    """Turns `SIGNALS` into a wish that the loop sees at the end of a step; a second Ctrl-C stops at once."""
    stop = Stop()

    def ask(number: int, frame: Any) -> None:  # noqa: ARG001
        if stop.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.asked = True

    old = {}
    try:
        for number in SIGNALS:
            if number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                continue  # nohup: it is to outlive its terminal
            old[number] = signal.signal(number, ask)
    except ValueError:  # not in the main thread: whoever runs us there handles signals
        pass
    try:
        yield stop
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
