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
from vtr.data.tokenizer import whereabouts
from vtr.errors import VtrError, WorkError
from vtr.footprint import USABLE, footprint
from vtr.plaintext import warn
from vtr.together import feeds

if TYPE_CHECKING:
    import torch


def has_tokenizer(config: Config) -> str:
    """Where the captions' tokenizer comes from. Raises WorkError when it is not here and cannot be fetched."""
    return whereabouts(config.model.text) if config.model.text else "to be made of the captions"


def fits(config: Config, clips: int, where: torch.device, precision: str, *, beside: int = 1, shares: int = 1) -> str:
    """What a step of `clips` takes of the memory of `where`, which `beside` processes share.

    `shares` are the processes that a model is spread over. Raises WorkError when it is more than there is; that is an
    estimate, which leaves out what the system and other programs will take.
    """
    one, free = footprint(config, where, precision), memory_bytes(where) // beside
    piece = -(-clips // config.train.accumulate)
    wanted = one.fixed // shares + piece * one.a_sample
    told = f"{wanted / 2**30:.3g} GB for a process with {piece} clips at a time, of {free / 2**30:.3g} GB that are free"
    if wanted <= USABLE * free:
        return told
    most = max(0, int(USABLE * free - one.fixed // shares) // one.a_sample)
    if not most:
        raise WorkError(f"memory may not suffice: {told}", "take a smaller model, or more memory")
    pieces = -(-clips // most)
    raise WorkError(
        f"memory may not suffice: {told}", f"give --accumulate {pieces} or more, or --set train.checkpointing=true"
    )


def report(config: Config, index: Samples, processes: int, device: str = "auto") -> list[dict[str, Any]]:
    """[{"check", "ok", "told", "hint"}] for each check and each stage of a recipe, on this machine."""
    found = []
    stages = recipe.staged(config)
    for number, stage in enumerate(stages, start=1):
        where = compute.device(stage.train.device if device == "auto" else device)
        precision = compute.precision(stage.train.precision, where)
        batch = max(1, min(stage.train.batch_size, len(index)) // processes)
        beside = processes if where.type == "cpu" else 1
        checks: dict[str, Callable[[], str]] = {
            "feeds": lambda: feeds(stage, index, processes),  # noqa: B023
            **({"tokenizer": lambda: has_tokenizer(stage)} if number == 1 else {}),  # noqa: B023
            "fits": lambda: fits(stage, batch, where, precision, beside=beside),  # noqa: B023
        }
        for name, check in checks.items():
            title = name if len(stages) == 1 else f"stage {number} {name}"
            try:
                found.append({"check": title, "ok": True, "told": check(), "hint": ""})
            except VtrError as error:
                found.append({"check": title, "ok": False, "told": error.message, "hint": error.hint})
    return found


def before_run(
    config: Config, index: Samples, accelerator: Any, precision: str, spread: bool, *, known: bool = True
) -> None:
    """Raises what `feeds` does; says on stderr what the data lack of what is published, and if memory may not suffice.

    Without `known`, an objective of one's own that nothing is known about, it cannot tell the memory.
    """
    world, where = accelerator.num_processes, accelerator.device
    feeds(config, index, world)
    if not accelerator.is_main_process:
        return
    for one in index.indices if isinstance(index, Mixture) else (index,):
        for line in warnings_of(one):
            warn(line)
    if not known:
        return
    beside = int(os.environ.get("LOCAL_WORLD_SIZE", world)) if where.type == "cpu" else 1
    clips = min(config.train.batch_size, len(index)) // world
    try:
        fits(config, clips, where, precision, beside=beside, shares=world if spread else 1)
    except WorkError as error:
        warn(f"{error.message}; {error.hint}")
