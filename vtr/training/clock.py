"""How fast a run goes, and how much of it is waiting for data."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """Speed since the last look, and the share of it spent waiting for data."""

    def __init__(self) -> None:
        self._begin = self._look = time.monotonic()
        self._waited = 0.0
        self._samples = self._tokens = self._all_steps = 0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around a wait for the next batch."""
        begin = time.monotonic()
        yield
        self._waited += time.monotonic() - begin

    def step(self, samples: int, tokens: int) -> None:
        """Counts a step of so many samples and tokens, over all processes."""
        self._samples += samples
        self._tokens += tokens
        self._all_steps += 1

    def figures(self, steps_left: int) -> dict[str, float]:
        """Speed since the last look, the share spent waiting, seconds since the start, seconds left."""
        now = time.monotonic()
        spent = max(now - self._look, 1e-9)
        figures = {
            "samples_per_s": round(self._samples / spent, 2),
            "tokens_per_s": round(self._tokens / spent),
            "data_wait": round(self._waited / spent, 4),
            "seconds": round(now - self._begin, 2),
            "left_s": round((now - self._begin) / self._all_steps * steps_left, 1),
        }
        self._look, self._waited, self._samples, self._tokens = now, 0.0, 0, 0
        return figures
