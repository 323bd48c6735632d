"""Learning-rate schedules and parameter groups, as pure functions."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from vtr.errors import ConfigError

# Positions and mask tokens are 3-d tensors, but no matrix that weight decay should pull to zero.
NO_DECAY = ("pos", "wpe", "cls", "temporal", "mask_token", "temperature")

# Where a block stands in a name: timm's and our `blocks.3.`, transformers' `layer.3.`, `layers.3.`, `block.3.`, GPT-2's
# `h.3.`, and ALBERT's, which has one for all layers.
BLOCK = re.compile(r"(.*?)\b(?:blocks?|layers?|h|albert_layer_groups)\.(\d+)\.")
# What stands below the first block; `wte` and `wpe` are GPT-2's words and positions, `shared` BART's words.
FIRST = (
    "embed", "_emb", "wte", "wpe", "shared.", "relative_attention_bias", "project_in", "cls_token", "mask_token",
    "norm_pre",
)  # fmt: skip
TOWERS = ("video", "text")
WHOLE = "leave it out, or freeze the whole {tower} tower"
NOT_HELD = "the objective does not hold the model that it was given, which nothing would train"
HOLD = "write `self.model = model` in its `__init__`, after `super().__init__()`"
BESIDE = "beside"  # the first part of a name, of what an objective trains beside its model


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
    Raises ConfigError for a `layer_decay` where a tower to be trained has no blocks that are known, and where there is
    nothing but what is `BESIDE` a model.
    """
    every = list(named)
    if all(name.startswith(f"{BESIDE}.") for name, _ in every):
        raise ConfigError(NOT_HELD, HOLD)
    depths = tower_depths(name for name, _ in every)
    if layer_decay != 1:
        known_towers((name for name, p in every if p.requires_grad), depths, f"optim.layer_decay = {layer_decay}")
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
        match = BLOCK.match(name)
        if match and not name.startswith(f"{BESIDE}."):
            tower = match[1].partition(".")[0]
            depths[tower] = max(depths.get(tower, 0), int(match[2]) + 1)
    return depths


def known_towers(names: Iterable[str], depths: Mapping[str, int], asked: str, instead: str = WHOLE) -> None:
    """Raises ConfigError when the blocks of a tower in `names` are not known: what was `asked`, and `instead`."""
    unknown = {first for name in names if (first := name.partition(".")[0]) in TOWERS and first not in depths}
    if unknown:
        tower = min(unknown)
        raise ConfigError(
            f"{asked}: the blocks of this {tower} tower are not known by their names",
            f"{instead.format(tower=tower)}; known are the blocks of BERT, CLIP, GPT-2 and their like",
        )


def tower_of(name: str, depths: Mapping[str, int]) -> str | None:
    """The tower that a parameter is in: its name's first part, "" where the model is one; None for heads outside."""
    first = name.partition(".")[0]
    if first in depths:
        return first
    return "" if "" in depths and first != BESIDE else None


def layers_above(name: str, depths: Mapping[str, int]) -> int:
    """0 for heads and final norms, 1 for the last block, and so on down to the embeddings.

    `video.blocks.11.mlp.fc1.weight` -> 1, `video.blocks.0.norm1.bias` -> 12, `video.pos_embed` -> 13.
    """
    if name == f"{BESIDE}.mask_token":  # it takes the place of patches
        return depths.get("video", -1) + 1
    tower = tower_of(name, depths)
    if tower is None:
        return 0
    if match := BLOCK.match(name):
        return depths[tower] - int(match[2])
    return depths[tower] + 1 if any(word in name for word in FIRST) else 0
