"""Randomness that is addressed, not consumed: a seed, a step and a sample name a draw, so a resumed run draws the same.

Nothing here has state. `uniform` hashes its addresses (splitmix64), so a row's draw does not depend on which other rows
stand in the batch, on the process it is drawn in, or on the device. The order of training needs no torch, which takes
seconds to import: only what makes tensors does that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

_GAMMA, _MIX1, _MIX2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_WORD = (1 << 64) - 1


def _signed(value: int) -> int:
    """The int64 with the same 64 bits, for torch has no uint64 arithmetic."""
    value &= _WORD
    return value - (1 << 64) if value >> 63 else value


def _mix(value: int) -> int:
    value &= _WORD
    value = ((value ^ (value >> 30)) * _MIX1) & _WORD
    value = ((value ^ (value >> 27)) * _MIX2) & _WORD
    return value ^ (value >> 31)


def _mix_tensor(x: Tensor) -> Tensor:
    # torch shifts int64 arithmetically; the mask makes the shifts logical.
    x = (x ^ ((x >> 30) & ((1 << 34) - 1))) * _signed(_MIX1)
    x = (x ^ ((x >> 27) & ((1 << 37) - 1))) * _signed(_MIX2)
    return x ^ ((x >> 31) & ((1 << 33) - 1))


def fold_in(seed: int, *parts: int) -> int:
    """A new 63-bit seed for the address (`seed`, `*parts`); another order of parts is another address."""
    state = _mix(seed + _GAMMA)
    for part in parts:
        state = _mix(state + _GAMMA * (2 * part + 1))
    return state >> 1


def fold_in_rows(seed: int, rows: Tensor) -> Tensor:
    """(B,) int64 -> (B,) int64: one seed a row, from its number."""
    return _mix_tensor(_mix_tensor(rows * _signed(_GAMMA)) + _signed(fold_in(seed)))


def uniform(rows: Tensor, n: int) -> Tensor:
    """(B,) int64 seeds -> (B,n) float32 in [0,1), 24 random bits each."""
    import torch

    places = torch.arange(1, n + 1, device=rows.device, dtype=torch.int64) * _signed(_GAMMA)
    return _unit(_mix_tensor(rows[:, None] + places[None, :]))


def uniform_pairs(rows: Tensor, others: Tensor) -> Tensor:
    """(B,), (N,) int64 seeds -> (B,N) float32 in [0,1): one draw a pair, wherever its two stand among the others."""
    return _unit(_mix_tensor(rows[:, None] + others[None, :]))


def _unit(words: Tensor) -> Tensor:
    return ((words >> 40) & ((1 << 24) - 1)).float() * 2.0**-24


def generator(seed: int, *parts: int) -> np.random.Generator:
    """A numpy generator for one address, for draws on the CPU (frames, crops, captions, order)."""
    return np.random.default_rng(fold_in(seed, *parts))
