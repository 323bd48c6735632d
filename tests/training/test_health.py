"""The figures of a run's health."""

from __future__ import annotations

import math

import pytest
import torch

from vtr.training.health import spread


def test_spread_of_unrelated_and_of_collapsed_vectors() -> None:
    assert spread(torch.eye(6)) == pytest.approx(1.0)
    assert spread(torch.ones(6, 4) * torch.arange(1, 7)[:, None]) == pytest.approx(0.0, abs=1e-6)
    assert spread(torch.tensor([[1.0, 0.0], [-1.0, 0.0]])) == pytest.approx(2.0)
    assert math.isnan(spread(torch.ones(1, 4)))


def test_spread_is_the_mean_over_pairs() -> None:
    rows = torch.nn.functional.normalize(torch.randn(7, 5, generator=torch.Generator().manual_seed(0)), dim=-1)
    pairs = [1 - float(rows[i] @ rows[j]) for i in range(7) for j in range(7) if i != j]
    assert spread(3 * rows) == pytest.approx(sum(pairs) / len(pairs), rel=1e-5)
