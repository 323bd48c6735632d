"""`vtr bench` lists the subjects that there are, prints a table, or JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_helpers import Cli

from vtr.bench import SUBJECTS


def test_the_subjects_are_listed(cli: Cli) -> None:
    result = cli("bench", "--help")
    assert result.code == 0
    assert all(f"│ {subject} " in result.out for subject in SUBJECTS)


@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_subject_helps_with_two_commands(cli: Cli, subject: str) -> None:
    result = cli("bench", subject, "--help")
    assert f"vtr bench {subject} --json" in result.out
    assert "--repeats" in result.out


def test_json_and_the_table_tell_the_same_ratios(cli: Cli) -> None:
    found = json.loads(cli("bench", "index", "--small", "--repeats", "1", "--json").out)
    assert set(found["ratios"]) == {"index.open_s", "index.open_mb"}
    table = cli("bench", "index", "--small", "--repeats", "1")
    assert table.code == 0
    assert "index.open_mb" in table.out
    assert "below 300" in table.out
    assert table.err == ""


def test_an_unknown_subject_is_no_command(cli: Cli) -> None:
    result = cli("bench", "speed")
    assert (result.code, result.out) == (2, "")
    assert "No such command" in result.err


@pytest.mark.parametrize(
    "given", [("--batch-size", "2"), ("--ratio", "0.5"), ("--precision", "bf16"), ("--repeats", "3"), ("--compile",)]
)
def test_what_a_plan_does_not_heed_is_refused(cli: Cli, given: tuple[str, ...]) -> None:
    result = cli("bench", "step", "--plan", *given)
    assert (result.code, result.out) == (2, "")
    assert f"{given[0]} does nothing beside --plan" in result.err


def test_shards_are_of_a_plan(cli: Cli, tmp_path: Path) -> None:
    result = cli("bench", "step", "--shards", tmp_path)
    assert (result.code, result.out) == (2, "")
    assert "--shards is what a plan reads from" in result.err
    assert "--plan" in result.err


def test_an_unknown_precision_is_refused_in_words(cli: Cli) -> None:
    result = cli("bench", "step", "--precision", "nonsense")
    assert (result.code, result.out) == (2, "")
    assert "the precision 'nonsense' is unknown" in result.err
