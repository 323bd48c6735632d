"""How fast a run goes, what it costs, and how much of it is waiting for data."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """Speed since the last look, the share of it spent waiting for data, and the processor's time for the steps."""

    def __init__(self) -> None:
        self._begin = self._look = time.monotonic()
        self._processor = time.process_time()
        self._waited = self._aside = self._all_aside = 0.0
        self._samples = self._tokens = self._all_steps = 0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around a wait for the next batch."""
        begin, of_processor = time.monotonic(), time.process_time()
        yield
        self._waited += time.monotonic() - begin
        self._processor += time.process_time() - of_processor

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Around what is no part of training, an evaluation or a checkpoint: no figure but `seconds` counts it."""
        begin, of_processor = time.monotonic(), time.process_time()
        yield
        self._aside += time.monotonic() - begin
        self._processor += time.process_time() - of_processor

    def step(self, samples: int, tokens: int) -> None:
        """Counts a step of so many samples and tokens, over all processes."""
        self._samples += samples
        self._tokens += tokens
        self._all_steps += 1

    def figures(self, steps_left: int) -> dict[str, float]:
        """Speed since the last look, the share spent waiting, seconds since the start, seconds of training left.

        `processor_s` are seconds of the processor, all threads of this process together, since the start: for the steps
        alone, so that neither other programs nor evaluations count.
        """
        now = time.monotonic()
        spent = max(now - self._look - self._aside, 1e-9)
        self._all_aside += self._aside
        figures = {
            "samples_per_s": round(self._samples / spent, 2),
            "tokens_per_s": round(self._tokens / spent),
            "data_wait": round(self._waited / spent, 4),
            "seconds": round(now - self._begin, 2),
            "processor_s": round(time.process_time() - self._processor, 3),
            "left_s": round((now - self._begin - self._all_aside) / self._all_steps * steps_left, 1),
        }
        self._look, self._waited, self._aside, self._samples, self._tokens = now, 0.0, 0.0, 0, 0
        return figures
