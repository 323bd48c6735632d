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
    assert 0.75 <= figures["data_wait"] < 1, "nor are evaluations in the time that it is a share of"


def test_what_stands_between_steps_slows_nothing_down() -> None:
    """Steps of a tenth of a second and an evaluation of half a second: they keep their speed, and the rest its time."""
    clock = Clock()
    for _ in range(2):
        time.sleep(0.1)
        clock.step(8, 80)
        before = clock.figures(10)
        with clock.aside():
            time.sleep(0.5)
    time.sleep(0.1)
    clock.step(8, 80)
    after = clock.figures(10)
    for figures in (before, after):
        assert 40 < figures["samples_per_s"] <= 80
        assert 400 < figures["tokens_per_s"] <= 800
        assert 1 <= figures["left_s"] < 2
    assert after["seconds"] >= 1.3, "all that has passed"
