"""Positions fitted to other clips: the same ones to the bit, others in between."""

from __future__ import annotations

import pytest
import torch

from vtr.models.positions import fit_space, fit_time, grow_time


def test_the_same_grid_is_the_same_table():
    table = torch.randn(12, 5)
    assert fit_space(table, (3, 4), (3, 4)) is table


@pytest.mark.parametrize("wanted", [(6, 8), (2, 2), (5, 3), (1, 1)])
def test_another_grid_keeps_what_is_smooth(wanted):
    """A plane over the grid is a plane over the other one, away from its edges."""
    rows, columns = torch.meshgrid(torch.arange(3.0), torch.arange(4.0), indexing="ij")
    table = torch.stack([rows, columns, torch.ones_like(rows)], dim=-1).view(12, 3)
    fitted = fit_space(table, (3, 4), wanted).view(*wanted, 3)
    torch.testing.assert_close(fitted[..., 2], torch.ones(wanted))
    if wanted != (1, 1):
        assert (fitted[..., 0].diff(dim=0) > 0).all()
        assert (fitted[..., 1].diff(dim=1) > 0).all()
    torch.testing.assert_close(fitted[..., :2].mean((0, 1)), torch.tensor([1.0, 1.5]), atol=1e-4, rtol=0)


def test_time_is_cut_or_stretched():
    table = torch.tensor([[0.0, 5.0], [2.0, 5.0], [4.0, 5.0]])
    assert torch.equal(fit_time(table, 2), table[:2])
    assert torch.equal(fit_time(table, 3), table)
    assert torch.equal(fit_time(table, 5), torch.tensor([[0.0, 5], [1, 5], [2, 5], [3, 5], [4, 5]]))
    assert torch.equal(fit_time(table[1:2], 3), table[1:2].expand(3, -1)), "one frame says the same at all times"


def test_growing_keeps_the_old_rows_and_adds_zeros():
    table = torch.randn(2, 3)
    grown = grow_time(table, 4)
    assert torch.equal(grown[:2], table)
    assert not grown[2:].any()
    assert torch.equal(grow_time(table, 4, "interpolate"), fit_time(table, 4))
    assert torch.equal(grow_time(table, 1), table[:1])
