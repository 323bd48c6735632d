"""Training is measured from a frame store and from memory, with the same steps."""

from __future__ import annotations

from vtr.bench import run
from vtr.bench.train import GOALS


def test_it_measures_what_its_goals_name() -> None:
    found = run("train", repeats=1, small=True)
    assert set(found["ratios"]) == set(GOALS)
    assert found["figures"]["batch_size"] == 96
    assert found["figures"]["samples_per_s_store"] > 0
