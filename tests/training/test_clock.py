"""The clock of a run: what is counted as its steps, and what is not."""

from __future__ import annotations

import time

from vtr.training.clock import Clock


def burn(seconds: float) -> None:
    """Uses so much of the processor."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_the_processors_time_is_that_of_steps_alone() -> None:
    clock = Clock()
    burn(0.05)
    clock.step(8, 80)
    time.sleep(0.2)  # another program's turn
    first = clock.figures(1)["processor_s"]
    assert 0.05 <= first < 0.15
    with clock.waiting():
        burn(0.3)
    with clock.aside():
        burn(0.3)
    burn(0.05)
    clock.step(8, 80)
    figures = clock.figures(0)
    assert 0.05 <= figures["processor_s"] - first < 0.25
    assert figures["seconds"] >= 0.9
    assert 0.3 <= figures["data_wait"] <= 0.7, "evaluations are no wait for data"
