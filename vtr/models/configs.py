"""What the config of a stranger's model may ask for: no far larger model than its weights fill, and nobody's code."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vtr import bounds, plainjson
from vtr.errors import ConfigError

LAYERS = 1000  # of a tower: the deepest that are known have some two hundred
COUNTS = ("layer", "layers", "depth", "blocks")  # what the names of numbers of layers end with
TIMES = 2  # tensors with two names are kept once
BESIDE = 10_000_000  # numbers that no file of weights keeps: fixed positions, masks
# How attention and experts are computed: libraries and code from the hub can stand here. All compute the same.
KERNELS = {f"{before}{what}_implementation{after}" for what in ("attn", "experts") for before in ("", "_")
           for after in ("", "_internal")}  # fmt: skip
OWN_KERNELS = (None, "eager", "sdpa")
WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.pth", "*.h5")


def check_layers(told: Mapping[str, Any], where: str) -> None:
    """Raises ConfigError where `told`, a config, names more than 1000 layers: each takes memory by itself."""
    most = bounds.at_most(LAYERS)
    for name, value in integers(told):
        if name.endswith(COUNTS) and value > most:
            raise ConfigError(f"{where} has {name} = {value}, at most {most} is usual", bounds.HINT)


def check_kernels(told: Any, where: str) -> None:
    """Raises ConfigError where `told`, a config, names others' code to compute with."""
    for name, value in told.items() if isinstance(told, Mapping) else ():
        if name in KERNELS and value not in OWN_KERNELS:
            raise ConfigError(
                f"{where} asks in its config for {name} = {str(value)[:80]!r}, which may be code from elsewhere",
                "take it out of that file: the model computes the same without",
            )
        check_kernels(value, where)


def own_kernels(config: Any) -> Any:
    """A config of transformers, which computes with what is in torch, whatever it asked for."""
    config._attn_implementation = config._experts_implementation = None  # of its parts, too
    return config


def check_numbers(make: Callable[[], nn.Module], held: int, where: str) -> None:
    """Raises ConfigError where what `make` makes has far more numbers than the `held` ones of its weights.

    It is made without memory for any of them (torch's meta device).
    """
    with torch.device("meta"):
        model = make()
    wanted = sum(tensor.numel() for tensor in itertools.chain(model.parameters(), model.buffers()))
    if wanted > bounds.at_most(TIMES * held + BESIDE):
        raise ConfigError(
            f"the weights of {where} have {held} numbers, and its config is of a model of {wanted}",
            f"take config and weights from one model; {bounds.HINT}",
        )


def check_folder(folder: Path, make: Callable[[], nn.Module] | None = None, config: str = "config.json") -> None:
    """All three checks, of a model that others saved in `folder`, if that is one.

    `make` makes it without its weights; if not given, it is what transformers makes of the folder's config. Whatever no
    model can be made of is left to whoever loads it.
    """
    try:
        told = plainjson.load(folder / config)
    except (OSError, ValueError):
        return
    check_kernels(told, str(folder))
    check_layers(told if isinstance(told, dict) else {}, str(folder))
    # A number takes a byte at least, four as a rule.
    held = sum(file.stat().st_size for kind in WEIGHTS for file in folder.glob(kind))
    try:
        check_numbers(make or (lambda: _of_transformers(folder)), held, str(folder))
    except (ConfigError, MemoryError):
        raise
    except Exception:  # what libraries make of damaged configs has many kinds
        return


def weights_bytes(folder: Path) -> int:
    """The bytes of the weights in a folder: a number takes one at least, four as a rule."""
    return sum(file.stat().st_size for kind in WEIGHTS for file in folder.glob(kind))


def held_in(weights: Path) -> int:
    """How many numbers a file of safetensors has. Raises what safetensors does of a damaged one."""
    from safetensors import safe_open

    with safe_open(weights, "pt") as file:
        return sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118


def integers(told: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """The whole numbers of a config with their names, of its parts and lists too."""
    for name, value in told.items():
        if isinstance(value, Mapping):
            yield from integers(value)
        for one in value if isinstance(value, (list, tuple)) else [value]:
            if type(one) is int:
                yield str(name), one


def _of_transformers(folder: Path) -> Any:
    from transformers import AutoConfig, AutoModel

    return AutoModel.from_config(AutoConfig.from_pretrained(folder, trust_remote_code=False))
