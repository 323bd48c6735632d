"""Embedding is measured beside the bare model, over the same clips."""

from __future__ import annotations

from vtr.bench import run
from vtr.bench.embed import GOALS


def test_it_measures_what_its_goals_name() -> None:
    found = run("embed", repeats=1, small=True)
    assert set(found["ratios"]) == set(GOALS) == {"embed.over_forward"}
    figures = found["figures"]
    assert figures["clips"] == 8
    assert found["ratios"]["embed.over_forward"] > 0
    assert figures["embed_s"] > figures["start_s"], "opening the run is a part of embedding"
    assert figures["forward_clips_per_s"] == 8 / figures["forward_s"]
