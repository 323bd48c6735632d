"""Learning-rate schedules and parameter groups, as pure functions."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

# Positions and mask tokens are 3-d tensors, but no matrix that weight decay should pull to zero.
NO_DECAY = ("pos", "cls", "temporal", "mask_token", "temperature")

# Where a block stands in a name: timm's and our `blocks.3.`, transformers' `layer.3.`, `layers.3.` and `h.3.`.
BLOCK = re.compile(r"(.*?)\b(?:blocks|layers|layer|h)\.(\d+)\.")
FIRST = ("embed", "cls_token", "mask_token", "norm_pre")  # what stands below the first block


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


def parameter_groups(
    named: Iterable[tuple[str, nn.Parameter]], weight_decay: float, lr: float = 0.0, layer_decay: float = 1.0
) -> list[dict[str, Any]]:
    """AdamW groups: matrices with `weight_decay`; norms, biases, positions and single tokens without.

    With a `layer_decay` below 1 each of them comes once a layer, with that layer's learning rate, the highest first:
    `lr * layer_decay^(layers above it)`. Heads and final norms have `lr` itself, embeddings and positions the lowest.
    """
    every = list(named)
    depths = tower_depths(name for name, _ in every)
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in every:
        if parameter.requires_grad:
            # The last two parts, for transformers' positions are called `position_embeddings.weight`.
            single = parameter.ndim < 2 or any(word in part for part in name.split(".")[-2:] for word in NO_DECAY)
            scale = 1.0 if layer_decay == 1 else layer_decay ** layers_above(name, depths)
            groups.setdefault((-scale, single), []).append(parameter)
    made = []
    for (scale, single), parameters in sorted(groups.items(), key=lambda item: item[0]):
        group: dict[str, Any] = {"params": parameters, "weight_decay": 0.0 if single else weight_decay}
        made.append(group | ({} if layer_decay == 1 else {"lr": -scale * lr}))
    return made


def tower_depths(names: Iterable[str]) -> dict[str, int]:
    """How many blocks each tower has: {"video": 12, "text": 6}, or {"": 12} where a model is one tower."""
    depths: dict[str, int] = {}
    for name in names:
        if match := BLOCK.match(name):
            tower = match[1].partition(".")[0]
            depths[tower] = max(depths.get(tower, 0), int(match[2]) + 1)
    return depths


def layers_above(name: str, depths: Mapping[str, int]) -> int:
    """0 for heads and final norms, 1 for the last block, and so on down to the embeddings.

    `video.blocks.11.mlp.fc1.weight` -> 1, `video.blocks.0.norm1.bias` -> 12, `video.pos_embed` -> 13.
    """
    first = name.partition(".")[0]
    depth = depths.get(first if first in depths else "", 0)
    if match := BLOCK.match(name):
        return depth - int(match[2])
    return depth + 1 if any(word in name for word in FIRST) else 0
