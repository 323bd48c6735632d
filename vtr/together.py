"""Whether processes can train together here: do the clips divide among them, are there the GPUs and the memory.

Whoever starts them asks first, for each takes seconds to load before it can say so itself, and many take minutes.
It imports little.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from vtr.compute import memory_bytes
from vtr.config import Config
from vtr.data import shares
from vtr.data.mixture import Samples
from vtr.errors import ConfigError, WorkError

# Bytes of memory that a process has of its own, of torch, transformers and Accelerate alone.
PROCESS = 400 << 20


def step_shares(config: Config, index: Samples, processes: int) -> str:
    """How a step of `config` shares its clips out. Raises what `vtr.data.shares.feeds` does."""
    train = config.train
    return shares.feeds(index, processes, train.batch_size, train.accumulate, train.accumulate_how)


def check_processes(stages: Sequence[Config], index: Samples, processes: int) -> None:
    """Raises what `step_shares` and `check_room` do, for `processes` of this machine that are to train `stages`.

    Raises ConfigError, too, where they are to train on GPUs and there are fewer.
    """
    for stage in stages:
        step_shares(stage, index, processes)
        name = stage.train.device
        on_gpu = torch.cuda.is_available() if name == "auto" else name.startswith("cuda")
        gpus = torch.cuda.device_count() if on_gpu else 0
        if on_gpu and processes > gpus:
            raise ConfigError(
                f"{processes} processes train on a GPU each, and this machine has {gpus}",
                f"give --num-processes {max(1, gpus)} or fewer, or --device cpu",
            )
    check_room(processes)


def check_room(processes: int) -> None:
    """Raises WorkError where this machine has less memory than `processes` take before they have a model."""
    free = memory_bytes(torch.device("cpu"))
    most = max(1, free // PROCESS)
    if processes > most:
        raise WorkError(
            f"{processes} processes take {processes * PROCESS / 2**30:.3g} GB before they have a model, "
            f"{free / 2**30:.3g} GB are free",
            f"give --num-processes {most} or fewer",
        )
