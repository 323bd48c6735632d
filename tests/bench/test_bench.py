"""Every subject gives the ratios that its goals name, and the harness measures in turns."""

from __future__ import annotations

from importlib import import_module
from itertools import count
from pathlib import Path

import pytest

from vtr.bench import SUBJECTS, reached, run
from vtr.bench.harness import Bench, machine
from vtr.errors import InputError


@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_subject_names_a_goal_for_its_ratios(subject: str) -> None:
    goals = import_module(f"vtr.bench.{subject}").GOALS
    assert goals
    for name, goal in goals.items():
        assert name.startswith(f"{subject}.")
        assert reached(goal, 0.0) != reached(goal, 1e9), "a goal that some value misses"


def test_works_take_turns_and_the_first_turn_only_warms_up(tmp_path: Path) -> None:
    order: list[str] = []
    ticks = count()
    bench = Bench(tmp_path, repeats=3)
    works = {"a": lambda: order.append("a"), "b": lambda: (order.append("b"), next(ticks))}
    assert bench.medians(works, clock=lambda: float(next(ticks))) == {"a": 1.0, "b": 2.0}
    assert order == ["a", "b"] * 4


def test_a_goal_is_reached_or_not() -> None:
    assert reached("at least 30", 30.0)
    assert not reached("at least 30", 29.9)
    assert reached("below 2", 1.9)
    assert not reached("below 2", 2.0)


def test_the_machine_is_described() -> None:
    about = machine()
    assert about["cores"] >= 1
    assert about["processor"]
    assert "torch" in about["libraries"]


def test_an_unknown_subject_is_refused() -> None:
    with pytest.raises(InputError, match=r"no benchmark 'speed'\n.*choose one of: .*index"):
        run("speed")


def test_no_repeats_measure_nothing() -> None:
    with pytest.raises(InputError, match="0 repeats measure nothing"):
        run("index", repeats=0)
