"""Losses as pure functions of tensors: no ranks, no devices, no state.

Letters: B batch, E joint embedding.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def norm_softmax(
    video: Tensor,
    text: Tensor,
    temperature: float | Tensor = 0.05,
    ok: Tensor | None = None,
    samples: Tensor | None = None,
) -> Tensor:
    """(B,E), (B,E), (B,) bool, (B,) int64 -> (): the *sum* of both directions' mean cross-entropy over cosines.

    `L = -mean_i log softmax_j(S_ij / tau)_i - mean_j log softmax_i(S_ij / tau)_j`, S in float32 whatever comes in.
    A row with `ok` False is out of the loss as a row and as a column; with no row left the loss is 0, not NaN.
    Rows of equal `samples` are no negatives of each other: each still has its own pair to find, among all others.
    Source: Frozen in Time (arXiv:2104.00650), section 3.3, and its released code (the sum, no half).
    """
    with torch.autocast(video.device.type, enabled=False):
        logits = F.normalize(video.float(), dim=-1) @ F.normalize(text.float(), dim=-1).T / temperature
        target = torch.arange(len(logits), device=logits.device)
        # A pair that is out gets no probability; the diagonal stays, so that the (unused) row of a bad one is finite.
        pair = target[:, None] == target[None, :]
        out = torch.zeros_like(pair)
        if ok is not None:
            out = out | ~ok[None, :]
        if samples is not None:
            out = out | (samples[:, None] == samples[None, :])
        by_video, by_text = (s.masked_fill(out & ~pair, float("-inf")) for s in (logits, logits.T))
        if ok is None:
            return F.cross_entropy(by_video, target) + F.cross_entropy(by_text, target)
        weight = ok.to(logits.dtype) / ok.sum().clamp(min=1)
        rows = F.cross_entropy(by_video, target, reduction="none")
        columns = F.cross_entropy(by_text, target, reduction="none")
        return (weight * (rows + columns)).sum()
