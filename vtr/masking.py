"""Which patches stay visible and which words are hidden, as pure functions of addresses.

Letters: B batch, S time slots (frames / tubelet), n cells of a slot's grid, k visible cells, L text tokens.
Source: MAC (arXiv:2212.00986), section on masking; MAE (arXiv:2111.06377) for the draw by sorting noise; SimVTP
(arXiv:2212.03490) for tubes and words; MILES (arXiv:2204.12408) and BEiT (arXiv:2106.08254) for blocks.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vtr.errors import ConfigError
from vtr.rng import uniform

MASKS = ("per_frame", "tube", "block")
# BEiT draws blocks of at least 16 of 196 cells, of proportions between 0.3 and its inverse.
LEAST_BLOCK, LEAST_ASPECT, BLOCKS = 16 / 196, 0.3, 10


def known_mask(mask: str) -> str:
    """`mask` as it came. Raises ConfigError when there is no such mask."""
    if mask not in MASKS:
        raise ConfigError(f"mask {mask!r} is unknown", f"choose one of: {', '.join(MASKS)}")
    return mask


def visible_count(cells: int, ratio: float) -> int:
    """How many of `cells` stay visible when `ratio` of them is hidden: 196 at 0.6 -> 78. At least one.

    Raises ConfigError when `ratio` is not in [0, 1).
    """
    if not 0 <= ratio < 1:
        raise ConfigError(f"a mask ratio of {ratio}, it must be at least 0 and below 1", "0.6 hides 60 % of it")
    # The small term keeps 196 * (1 - 0.5) and its like from falling below their integer.
    return max(1, int(cells * (1 - ratio) + 1e-6))


def hidden_count(cells: int, ratio: float) -> int:
    """How many of `cells` are hidden when the count is of these, not of the visible: 196 at 0.9 -> 176 (SimVTP).

    At least one stays visible. Raises ConfigError when `ratio` is not in [0, 1).
    """
    visible_count(cells, ratio)
    return min(cells - 1, int(cells * ratio + 1e-6))


def visible_cells(rows: Tensor, slots: int, cells: int, visible: int, mask: str = "per_frame") -> Tensor:
    """(B,) int64 seeds -> (B,S,k) int64: the visible cells of each slot, ascending.

    Uniform noise over the cells, the k smallest stay (MAE). `per_frame`: another draw in each slot, the same count
    (MAC). `tube`: one draw for all slots (SimVTP). `block`: all but blocks, the same in all slots (MILES).
    A clip's mask depends on its own seed alone.
    Raises ConfigError for an unknown `mask`, or blocks in a grid that is no square.
    """
    if known_mask(mask) == "block":
        side = math.isqrt(cells)
        if side * side != cells:
            raise ConfigError(f"blocks in {cells} cells, which are no square", "choose the mask tube or per_frame")
        kept = cells_of(~block_cells(rows, side, cells - visible), visible)
        return kept[:, None].expand(-1, slots, -1)
    draws = slots if known_mask(mask) == "per_frame" else 1
    noise = uniform(rows, draws * cells).view(-1, draws, cells)
    kept = noise.argsort(dim=-1, stable=True)[..., :visible].sort(dim=-1).values
    return kept.expand(-1, slots, -1)


def block_cells(rows: Tensor, side: int, hidden: int) -> Tensor:
    """(B,) int64 seeds -> (B,side*side) bool: exactly `hidden` cells of a grid, as blocks that may overlap.

    BEiT's blockwise masking: block after block, each of a random area between the least and what is still missing,
    a random proportion and a random place; the last one is cut, row by row, to what is missing (from below or above).
    Differs from the paper: the count is exact, where BEiT stops below it, so that all clips weigh the same.
    """
    least, place = max(1.0, LEAST_BLOCK * side * side), torch.arange(side, device=rows.device)
    taken = torch.zeros(len(rows), side * side, dtype=torch.bool, device=rows.device)
    away = torch.zeros(len(rows), side * side, dtype=torch.float64, device=rows.device)
    draws = uniform(rows, 4 * BLOCKS).view(-1, BLOCKS, 4).double().unbind(1)
    for number, draw in enumerate(draws):
        missing = hidden - taken.sum(1)
        area = least + draw[:, 0] * (missing - least).clamp(min=0)
        aspect = torch.exp(math.log(LEAST_ASPECT) * (2 * draw[:, 1] - 1))
        height = (area * aspect).sqrt().round().clamp(1, side)
        width = (area / aspect).sqrt().round().clamp(1, side)
        top, left = (draw[:, 2] * (side - height + 1)).floor(), (draw[:, 3] * (side - width + 1)).floor()
        within_rows = (place >= top[:, None]) & (place < (top + height)[:, None])
        within_columns = (place >= left[:, None]) & (place < (left + width)[:, None])
        new = (within_rows[:, :, None] & within_columns[:, None, :]).flatten(1) & ~taken
        counted = new.cumsum(1) if number % 2 else new.flip(1).cumsum(1).flip(1)
        taken |= new & (counted <= missing[:, None])
        if number == 0:
            down, across = place - (top + height / 2)[:, None] + 0.5, place - (left + width / 2)[:, None] + 0.5
            away = (down[:, :, None] ** 2 + across[:, None, :] ** 2).flatten(1)
    # Where ten blocks did not suffice, the cells around the first one fill up.
    order = away.masked_fill(taken, -1).argsort(dim=1, stable=True)[:, :hidden]
    return torch.zeros_like(taken).scatter_(1, order, True)


def hidden_cells(visible: Tensor, cells: int) -> Tensor:
    """(B,S,k) int64 -> (B,S,cells) bool: True at each cell that is not among the visible."""
    hidden = torch.ones(*visible.shape[:2], cells, dtype=torch.bool, device=visible.device)
    return hidden.scatter_(2, visible, False)


def cells_of(mask: Tensor, count: int) -> Tensor:
    """(...,n) bool with `count` True in each row -> (...,count) int64: their places, ascending.

    As `nonzero`, but without a wait for the device.
    """
    return (~mask).long().argsort(dim=-1, stable=True)[..., :count]


def hidden_words(maskable: Tensor, ratio: float, rows: Tensor) -> Tensor:
    """(B,L) bool, (B,) int64 seeds -> (B,L) bool: each maskable token with probability `ratio`."""
    return (uniform(rows, maskable.shape[1]) < ratio) & maskable


def mask_words(ids: Tensor, maskable: Tensor, mask_id: int, ratio: float, rows: Tensor) -> Tensor:
    """(B,L) int64, (B,L) bool -> (B,L) int64: `mask_id` in the place of each maskable token with probability `ratio`.

    Words are replaced, never removed, and `ids` is left as it was. `maskable` leaves out CLS, SEP and padding.
    """
    if ratio == 0:
        return ids
    return torch.where(hidden_words(maskable, ratio, rows), mask_id, ids)
