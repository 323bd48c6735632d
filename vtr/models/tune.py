"""Fine-tuning less than everything: frozen towers or blocks, and low-rank updates (LoRA) through peft.

Source: LoRA (arXiv:2106.09685).
"""

from __future__ import annotations

from torch import nn

from vtr.errors import ConfigError
from vtr.optim import layers_above, tower_depths
from vtr.optional import library


def freeze(model: nn.Module, what: str) -> None:
    """Makes parts of `model` untrained: `video`, `text` (a tower each), a number N (both towers' first N blocks).

    N blocks are frozen with what stands below them: patches, words, positions. Heads always train.
    Raises ConfigError when there is no such tower, or a tower has fewer blocks.
    """
    names = [name for name, _ in model.named_parameters()]
    depths = tower_depths(names)
    for part in filter(None, what.split(",")):
        if part.isdecimal():
            shallow = {tower: depth for tower, depth in depths.items() if depth < int(part)}
            if shallow:
                raise ConfigError(
                    f"optim.freeze = {part}, the {next(iter(shallow)) or 'model'} has {next(iter(shallow.values()))} "
                    f"blocks",
                    "give fewer, or a tower: video, text",
                )
            frozen = [name for name in names if _below(name, depths, int(part))]
        else:
            frozen = [name for name in names if name.startswith(f"{part}.")]
            if not frozen:
                raise ConfigError(f"optim.freeze = {part}: this model has no {part} tower of its own", "give a number")
        for name in frozen:
            model.get_parameter(name).requires_grad_(False)


def _below(name: str, depths: dict[str, int], blocks: int) -> bool:
    """Whether `name` is of the first `blocks` blocks or below them: 12 blocks, 2 frozen -> 11, 12 or 13 above it."""
    first = name.partition(".")[0]
    depth = depths.get(first if first in depths else "", 0)
    return layers_above(name, depths) > depth - blocks


def add_lora(model: nn.Module, rank: int, alpha: float) -> None:
    """Puts a low-rank update beside every matrix of the towers' blocks and freezes what it updates, in place.

    What is neither in a tower's blocks nor frozen otherwise (projections, final norms) trains as it is, the rest of a
    tower does not. At the start nothing changes: an update begins at zero.
    Raises InputError without peft.
    """
    peft = library("peft", "LoRA needs", "lora")
    depths = tower_depths(name for name, _ in model.named_parameters())
    heads = [name for name, p in model.named_parameters() if p.requires_grad and not layers_above(name, depths)]
    targets = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and layers_above(f"{name}.weight", depths) not in (0, _bottom(name, depths))
    ]
    settings = peft.LoraConfig(r=rank, lora_alpha=alpha, target_modules=targets)
    peft.inject_adapter_in_model(settings, model)
    for name in heads:
        model.get_parameter(name).requires_grad_(True)


def merge_lora(model: nn.Module) -> None:
    """Adds the updates to the matrices they belong to and removes them, in place: the same vectors, without peft."""
    for name, module in list(model.named_modules()):
        if hasattr(module, "merge") and hasattr(module, "get_base_layer"):
            module.merge()
            parent, _, own = name.rpartition(".")
            setattr(model.get_submodule(parent), own, module.get_base_layer())
    for parameter in model.parameters():
        parameter.requires_grad_(True)


def _bottom(name: str, depths: dict[str, int]) -> int:
    first = name.partition(".")[0]
    return depths.get(first if first in depths else "", 0) + 1
