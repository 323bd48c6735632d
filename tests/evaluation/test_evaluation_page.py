"""docs/evaluation.md has every field of a result, every protocol with its counts, and options that there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vtr.retrieval.protocols import PROTOCOLS
from vtr.retrieval.result import FIELDS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "evaluation.md"


def test_fields_and_protocols_are_documented():
    text = PAGE.read_text("utf-8")
    assert [f"| `{name}` | {about} |" in text for name, about in FIELDS.items()] == [True] * len(FIELDS)
    for name, protocol in PROTOCOLS.items():
        line = next(line for line in text.splitlines() if line.startswith(f"| `{name}` |"))
        videos, texts = protocol.expected(protocol.splits[0])
        plain = line.replace(" ", "")
        assert str(videos) in plain
        assert texts is None or str(texts) in plain
        assert all(f"`{split}`" in line for split in protocol.splits)


def test_options_are_those_of_the_command():
    from typer.main import get_command

    from vtr.cli import app
    from vtr.cli.evaluate import comparing

    commands = get_command(app).commands["eval"], get_command(comparing)
    known = {option for command in commands for parameter in command.params for option in parameter.opts}
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", PAGE.read_text("utf-8")))
    assert named <= known


@pytest.mark.slow
def test_the_benchmark_measures_what_its_goals_name():
    from vtr.bench import run
    from vtr.bench.eval import GOALS

    found = run("eval", repeats=1, small=True)
    assert set(found["ratios"]) == set(GOALS)
    assert found["ratios"]["eval.argsort_over_ours"] > 0
    assert 0 < found["ratios"]["eval.peak_mb"] < 200
    assert 0 < found["ratios"]["eval.overhead"] < 100
    assert found["figures"]["clips"] == 24
