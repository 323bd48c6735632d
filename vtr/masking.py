"""Which patches stay visible and which words are hidden, as pure functions of addresses.

Letters: B batch, S time slots (frames / tubelet), n cells of a slot's grid, k visible cells, L text tokens.
Source: MAC (arXiv:2212.00986), section on masking; MAE (arXiv:2111.06377) for the draw by sorting noise.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vtr.errors import ConfigError
from vtr.rng import uniform

MASKS = ("per_frame", "tube")


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


def visible_cells(rows: Tensor, slots: int, cells: int, visible: int, mask: str = "per_frame") -> Tensor:
    """(B,) int64 seeds -> (B,S,k) int64: the visible cells of each slot, ascending.

    Uniform noise over the cells, the k smallest stay (MAE). `per_frame`: another draw in each slot, the same count
    (MAC). `tube`: one draw for all slots. A clip's mask depends on its own seed alone.
    Raises ConfigError for an unknown `mask`.
    """
    draws = slots if known_mask(mask) == "per_frame" else 1
    noise = uniform(rows, draws * cells).view(-1, draws, cells)
    kept = noise.argsort(dim=-1, stable=True)[..., :visible].sort(dim=-1).values
    return kept.expand(-1, slots, -1)


def mask_words(ids: Tensor, maskable: Tensor, mask_id: int, ratio: float, rows: Tensor) -> Tensor:
    """(B,L) int64, (B,L) bool -> (B,L) int64: `mask_id` in the place of each maskable token with probability `ratio`.

    Words are replaced, never removed, and `ids` is left as it was. `maskable` leaves out CLS, SEP and padding.
    """
    if ratio == 0:
        return ids
    hidden = (uniform(rows, ids.shape[1]) < ratio) & maskable
    return torch.where(hidden, mask_id, ids)
