"""Pairs of vectors to a contrastive loss, with negatives from all processes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vtr.errors import ConfigError
from vtr.gather import gather
from vtr.losses import norm_softmax, sigmoid

LOSSES = ("softmax", "sigmoid")
# Where SigLIP begins: almost every pair of a batch is none, and the bias says so from the start.
FIRST_BIAS = -10.0


class Align(nn.Module):
    """`align(rows, temperature) -> ()` for rows "video" (B,E), "text" (B,E), "ok" (B,) bool and "samples" (B,) int64.

    `softmax`: both directions' cross-entropy (Frozen in Time); `sigmoid`: each pair on its own, with a learned bias
    (SigLIP, arXiv:2303.15343). Raises ConfigError for another `loss`.
    """

    def __init__(self, loss: str = "softmax") -> None:
        super().__init__()
        if loss not in LOSSES:
            raise ConfigError(f"the loss {loss!r} is unknown", f"choose one of: {', '.join(LOSSES)}")
        self.loss = loss
        if loss == "sigmoid":
            self.bias = nn.Parameter(torch.tensor(FIRST_BIAS))

    def forward(self, rows: dict[str, Tensor], temperature: Tensor) -> Tensor:
        # A batch may straddle two epochs and hold a clip twice, which is no negative of itself.
        video, text, ok, samples = (gather(rows[name]) for name in ("video", "text", "ok", "samples"))
        if self.loss == "sigmoid":
            return sigmoid(video, text, temperature, self.bias, ok, samples)
        return norm_softmax(video, text, temperature, ok, samples)


def contrast(objective: Any, rows: dict[str, Tensor]) -> dict[str, Tensor]:
    """The method `losses` of an objective that asks for nothing else: {"contrastive": ()} of all processes' rows."""
    return {"contrastive": objective.align(rows, objective.model.temperature)}
