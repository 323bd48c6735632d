"""Losses as pure functions of tensors: no ranks, no devices, no state.

Letters: B batch, E joint embedding.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def norm_softmax(video: Tensor, text: Tensor, temperature: float | Tensor = 0.05, ok: Tensor | None = None) -> Tensor:
    """(B,E), (B,E), (B,) bool -> (): the *sum* of both directions' mean cross-entropy over cosine similarities.

    `L = -mean_i log softmax_j(S_ij / tau)_i - mean_j log softmax_i(S_ij / tau)_j`, S in float32 whatever comes in.
    A row with `ok` False is out of the loss as a row and as a column; with no row left the loss is 0, not NaN.
    Source: Frozen in Time (arXiv:2104.00650), section 3.3, and its released code (the sum, no half).
    """
    with torch.autocast(video.device.type, enabled=False):
        logits = F.normalize(video.float(), dim=-1) @ F.normalize(text.float(), dim=-1).T / temperature
        target = torch.arange(len(logits), device=logits.device)
        if ok is None:
            return F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)
        # A column that is not ok gets no probability; the diagonal stays so that its own (unused) row is finite.
        out = ~ok[None, :] & ~torch.eye(len(logits), dtype=torch.bool, device=logits.device)
        weight = ok.to(logits.dtype) / ok.sum().clamp(min=1)
        rows = F.cross_entropy(logits.masked_fill(out, float("-inf")), target, reduction="none")
        columns = F.cross_entropy(logits.T.masked_fill(out, float("-inf")), target, reduction="none")
        return (weight * (rows + columns)).sum()
