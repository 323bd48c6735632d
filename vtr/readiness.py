"""Whether a training can go as it is asked for, told in seconds: do data divide, is a tokenizer there, does it fit.

What is certain is an error before anything is loaded or written; what is estimated, the memory, is a warning.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from vtr import compute, recipe
from vtr.compute import memory_bytes
from vtr.config import Config
from vtr.data.manifest import warnings_of
from vtr.data.mixture import Mixture, Samples
from vtr.data.shares import checked
from vtr.data.tokenizer import whereabouts
from vtr.errors import WorkError
from vtr.footprint import footprint
from vtr.plaintext import warn
from vtr.together import step_shares

if TYPE_CHECKING:
    import torch


def has_tokenizer(config: Config) -> str:
    """Where the captions' tokenizer comes from. Raises WorkError when it is not here and cannot be fetched."""
    return whereabouts(config.model.text) if config.model.text else "to be made of the captions"


def fits(
    config: Config, samples: int, processes: int, where: torch.device, precision: str, *, spread: bool = False,
    beside: int | None = None,
) -> str:  # fmt: skip
    """What a step on so many `samples` takes of the memory of `where`, in each of `processes`.

    `spread`: they hold one model together. `beside`: how many of them are on this machine, if not all; its processors
    have one memory. Raises WorkError when it is more than there is; that is an estimate, which leaves out what the
    system and other programs will take.
    """
    clips, holders = max(1, min(config.train.batch_size, samples) // processes), processes if spread else 1
    one = footprint(config, where, precision)
    free = memory_bytes(where) // ((beside or processes) if where.type == "cpu" else 1)
    piece = -(-clips // config.train.accumulate)
    wanted = one.fixed // holders + piece * one.a_sample
    told = f"{wanted / 2**30:.3g} GB for a process with {piece} clips at a time, of {free / 2**30:.3g} GB that are free"
    if piece <= one.at_once(free, holders):
        return told
    shared = where.type == "cpu" and not spread and beside in (None, processes)
    hint = one.advice(config, clips, free, holders, processes, shared=shared)
    raise WorkError(f"memory may not suffice: {told}", hint)


def report(config: Config, index: Samples, processes: int, device: str = "auto") -> list[dict[str, Any]]:
    """[{"check", "ok", "told", "hint"}] for each check and each stage of a recipe, on this machine."""
    found = []
    stages = recipe.staged(config)
    for number, stage in enumerate(stages, start=1):
        where = compute.device(stage.train.device if device == "auto" else device)
        precision = compute.precision(stage.train.precision, where)
        checks: dict[str, Callable[[], str]] = {
            "feeds": lambda: step_shares(stage, index, processes),  # noqa: B023
            **({"tokenizer": lambda: has_tokenizer(stage)} if number == 1 else {}),  # noqa: B023
            "fits": lambda: fits(stage, len(index), processes, where, precision),  # noqa: B023
        }
        for name, check in checks.items():
            found.append(checked(name if len(stages) == 1 else f"stage {number} {name}", check))
    return found


def before_run(
    config: Config, index: Samples, accelerator: Any, precision: str, spread: bool, *, known: bool = True
) -> None:
    """Raises what `step_shares` does; warns of what the data lack of what is published, and if memory may not suffice.

    Without `known`, an objective of one's own that nothing is known about, it cannot tell the memory.
    """
    world, where = accelerator.num_processes, accelerator.device
    step_shares(config, index, world)
    if not accelerator.is_main_process:
        return
    for one in index.indices if isinstance(index, Mixture) else (index,):
        for line in warnings_of(one):
            warn(line)
    if not known:
        return
    beside = int(os.environ.get("LOCAL_WORLD_SIZE", world))
    try:
        fits(config, len(index), world, where, precision, spread=spread, beside=beside)
    except WorkError as error:
        warn(f"{error.message}; {error.hint}")
