"""Learning-rate schedules and parameter groups, as pure functions."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from torch import nn

# Positions and mask tokens are 3-d tensors, but no matrix that weight decay should pull to zero.
NO_DECAY = ("pos", "cls", "temporal", "mask_token", "temperature")


def warmup_cosine(step: int, total: int, warmup: int, floor: float = 0.0) -> float:
    """The factor on the base learning rate at `step`: linear up to 1 over `warmup` steps, then a cosine to `floor`."""
    if step < warmup:
        return (step + 1) / warmup
    done = min(1.0, (step - warmup) / max(1, total - warmup))
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * done))


def scaled_lr(lr: float, batch: int, reference: int, cap: float) -> float:
    """`lr` is meant for a global batch of `reference` (0: for any) and grows in proportion, up to `cap` (0: no cap)."""
    scaled = lr * batch / reference if reference else lr
    return min(scaled, cap) if cap else scaled


def parameter_groups(named: Iterable[tuple[str, nn.Parameter]], weight_decay: float) -> list[dict[str, Any]]:
    """Two AdamW groups: matrices with `weight_decay`; norms, biases, positions and single tokens without."""
    decay: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for name, parameter in named:
        if parameter.requires_grad:
            # The last two parts, for transformers' positions are called `position_embeddings.weight`.
            single = parameter.ndim < 2 or any(word in part for part in name.split(".")[-2:] for word in NO_DECAY)
            (plain if single else decay).append(parameter)
    groups = [{"params": decay, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]
