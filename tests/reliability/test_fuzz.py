"""2 000 damaged files of every kind that vtr reads: each ends in a result or in an error of ours."""

from __future__ import annotations

from pathlib import Path

import pytest
from fuzz_targets import QUICK, TARGETS
from fuzzing import fuzz

FILES, FEW = 2000, 100


@pytest.mark.slow
def test_damaged_files_are_read_or_refused(tmp_path: Path) -> None:
    outcome = fuzz(FILES, 1, tmp_path)
    assert not outcome.failures, "\n\n".join(outcome.failures[:5])
    assert outcome.files >= FILES
    for name in TARGETS:  # a target that reads nothing, or refuses nothing, tests nothing
        assert outcome.counts[f"{name}: refused"] > 0, name
        assert outcome.counts[f"{name}: read"] > 0, name


def test_a_few_damaged_files(tmp_path: Path) -> None:
    """Of the kinds that come from strangers and need no trained run."""
    outcome = fuzz(FEW, 2, tmp_path, quick=True)
    assert not outcome.failures, "\n\n".join(outcome.failures[:5])
    assert outcome.files >= FEW
    assert all(outcome.counts[f"{name}: refused"] > 0 for name in QUICK)
