"""Positions for clips of another frame count or resolution than they were made for.

Letters: S slots, n cells of a grid, D width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def fit_space(table: Tensor, grid: tuple[int, int], wanted: tuple[int, int]) -> Tensor:
    """(n,D) positions of a `grid` of rows and columns -> those of the `wanted` one, by bicubic interpolation.

    Of the same grid they come back as they are, to the bit.
    """
    if grid == wanted:
        return table
    image = table.float().T.reshape(1, -1, *grid)
    return F.interpolate(image, wanted, mode="bicubic", align_corners=False)[0].flatten(1).T.to(table.dtype)


def fit_grid(table: Tensor, side: int, wanted: int) -> Tensor:
    """(1,1+side^2,D) -> (1,1+wanted^2,D): as `fit_space` on square grids, with CLS in front as it is."""
    return torch.cat([table[:, :1], fit_space(table[0, 1:], (side, side), (wanted, wanted))[None]], dim=1)


def fit_time(table: Tensor, slots: int) -> Tensor:
    """(S,D) -> (slots,D): the first rows for a shorter clip (Frozen in Time), linear interpolation for a longer one."""
    if slots <= len(table):
        return table[:slots]
    line = table.float().T[None]
    return F.interpolate(line, slots, mode="linear", align_corners=True)[0].T.to(table.dtype)


def grow_time(table: Tensor, slots: int, how: str = "zeros") -> Tensor:
    """(S,D) -> (slots,D), for training on with longer clips: `zeros` after the rows that there are, or `interpolate`.

    Source: Frozen in Time (arXiv:2104.00650), section 3.3 (a curriculum of frames), which compares the two.
    """
    if how == "interpolate" or slots <= len(table):
        return fit_time(table, slots)
    return torch.cat([table, table.new_zeros(slots - len(table), table.shape[1])])
