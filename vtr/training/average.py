"""A moving average of the weights, beside the model that is trained."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from vtr.models.embedder import Model


class Average:
    """`module`, a copy of a model, becomes `decay` of itself and the rest of the model at each step.

    Its first step is a copy, unless the average has `begun`: it is then what the given model holds.
    """

    def __init__(self, model: Model, decay: float, where: torch.device, *, begun: bool) -> None:
        self.module: Model = copy.deepcopy(model).to(where)
        self.decay, self.begun = decay, begun

    @torch.no_grad()
    def follow(self, model: nn.Module, left_out: Tensor) -> None:
        """Follows a step, unless that was `left_out` (): 1, else 0. It stays on the device: nobody waits for it."""
        share = (1 - self.decay) * (1 - left_out)
        for mine, theirs in zip(self.module.parameters(), model.parameters(), strict=True):
            if self.begun:
                mine.lerp_(theirs.to(mine.dtype), share.to(mine.device, mine.dtype))
            else:
                mine.copy_(theirs)
        for kept, now in zip(self.module.buffers(), model.buffers(), strict=True):
            kept.copy_(now)
        self.begun = True
