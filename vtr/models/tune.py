"""Fine-tuning less than everything: frozen towers or blocks, and low-rank updates (LoRA) through peft.

Source: LoRA (arXiv:2106.09685).
"""

from __future__ import annotations

import warnings

from torch import nn

from vtr.errors import ConfigError
from vtr.models.embedder import Model
from vtr.models.text import TextEncoder
from vtr.optim import BLOCK, WHOLE, known_towers, layers_above, tower_depths, tower_of
from vtr.optional import library


def freeze(model: nn.Module, what: str) -> None:
    """Makes parts of `model` untrained: `video`, `text` (a tower each), a number N (the first N blocks of the others).

    N blocks are frozen with what stands below them: patches, words, positions. Heads always train.
    Raises ConfigError when there is no such tower, or one has fewer blocks, or none that can be frozen apart.
    """
    parts = list(filter(None, what.split(",")))
    names = [name for name, _ in model.named_parameters()]
    whole = [part for part in parts if not part.isdecimal()]
    others = [name for name in names if name.partition(".")[0] not in whole]
    frozen = [name for name in names if name not in set(others)]
    for part in whole:
        if not any(name.startswith(f"{part}.") for name in names):
            raise ConfigError(f"optim.freeze = {part}: this model has no {part} tower of its own", "give a number")
    for part in filter(str.isdecimal, parts):
        depths = tower_depths(others)
        known_towers(others, depths, f"optim.freeze = {part}")
        for tower, depth in depths.items():
            _several(model, tower, depth, part)
            if depth < int(part):
                raise ConfigError(
                    f"optim.freeze = {part}, the {tower or 'model'} has {depth} blocks",
                    "give fewer, or a tower: video, text",
                )
        frozen += [name for name in others if _below(name, depths, int(part))]
    for name in frozen:
        model.get_parameter(name).requires_grad_(False)


def _several(model: nn.Module, tower: str, depth: int, part: str) -> None:
    """Raises ConfigError where a text model has more layers than blocks, as ALBERT does: one block, many times."""
    text = getattr(model, "text", None)
    if tower == "text" and isinstance(text, TextEncoder):
        layers = getattr(text.model.config, "num_hidden_layers", depth)
        if layers != depth:
            raise ConfigError(
                f"optim.freeze = {part}: the text's {layers} layers share the weights of {depth}, none is frozen alone",
                WHOLE.format(tower="text"),
            )


def _below(name: str, depths: dict[str, int], blocks: int) -> bool:
    """Whether `name` is of the first `blocks` blocks or below them: 12 blocks, 2 frozen -> 11, 12 or 13 above it."""
    tower = tower_of(name, depths)
    return tower is not None and layers_above(name, depths) > depths[tower] - blocks


def add_lora(model: nn.Module, rank: int, alpha: float) -> None:
    """Puts a low-rank update beside every linear layer of the towers' blocks and freezes what it updates, in place.

    What is neither in a tower's blocks nor frozen otherwise (projections, final norms) trains as it is, the rest of a
    tower does not. At the start nothing changes: an update begins at zero.
    Raises InputError without peft, ConfigError for a tower that has no such layers.
    """
    peft = library("peft", "LoRA needs", "lora")
    from transformers.pytorch_utils import Conv1D  # GPT-2's linear layer, its matrix the other way round

    names = [name for name, _ in model.named_parameters()]
    depths = tower_depths(names)
    known_towers(names, depths, f"model.lora_rank = {rank}", "leave it out")
    heads = [name for name, p in model.named_parameters() if p.requires_grad and not layers_above(name, depths)]
    targets = [
        name
        for name, module in model.named_modules()
        if isinstance(module, (nn.Linear, Conv1D)) and BLOCK.match(f"{name}.")
    ]
    for tower in depths:
        if tower not in {tower_of(name, depths) for name in targets}:
            raise ConfigError(
                f"model.lora_rank = {rank}: the blocks of this {tower or 'model'} have no linear layers to update",
                "leave LoRA out, or take another model",
            )
    settings = peft.LoraConfig(r=rank, lora_alpha=alpha, target_modules=targets)
    with warnings.catch_warnings():
        # One setting for layers of both kinds: it is put right for each, and said.
        warnings.filterwarnings("ignore", message="fan_in_fan_out is set to")
        peft.inject_adapter_in_model(settings, model)
    for name in heads:
        model.get_parameter(name).requires_grad_(True)


def merge_lora(model: Model) -> None:
    """Adds the updates to the matrices they belong to and removes them, in place: the same vectors, without peft."""
    for name, module in list(model.named_modules()):
        if hasattr(module, "merge") and hasattr(module, "get_base_layer"):
            module.merge()
            parent, _, own = name.rpartition(".")
            setattr(model.get_submodule(parent), own, module.get_base_layer())
    if hasattr(model, "peft_config"):  # peft would take the next update for one more beside these
        del model.peft_config
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    model.log_temperature.requires_grad_(model.learn_temperature)
