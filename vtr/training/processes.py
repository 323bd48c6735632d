"""The processes of a run: what Accelerate makes of them, its trackers, and one that is lost."""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist

from vtr.errors import ConfigError, WorkError
from vtr.plaintext import warn
from vtr.training.spread import DEEPSPEED, FSDP, says

if TYPE_CHECKING:
    from accelerate import Accelerator

# How gloo and NCCL tell of a process that has ended, or no longer answers.
CONNECTIONS = (
    "onnection closed by peer",
    "onnection reset by peer",
    "roken pipe",
    "imed out",
    "imeout",
    "NCCL",
    "Gloo",
)

# What accelerate's files and launcher say that is vtr's to do, or the recipe's to say: Accelerate does not hear of it.
DYNAMO = "ACCELERATE_DYNAMO_"
UNHEARD = (FSDP, DEEPSPEED, "ACCELERATE_GRADIENT_ACCUMULATION_STEPS")
REFUSED = {"ACCELERATE_USE_MEGATRON_LM": "Megatron-LM", "ACCELERATE_USE_PARALLELISM_CONFIG": "a parallelism_config"}
# Of several processes: torch's launchers, and three kinds of mpirun.
TELLS = {"RANK", "WORLD_SIZE", "LOCAL_RANK", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE"}


@contextmanager
def accelerated(
    where: torch.device, precision: str, tracker: str = "", out: Path | None = None
) -> Iterator[Accelerator]:
    """An Accelerator for one run. Its settings are global: they are forgotten after, unless somebody had made them.

    The connections between processes stay to the end of this process, for its next run (of a recipe with stages, say):
    made anew, they would meet what is left of the old ones at the same address.
    It is not told of FSDP or DeepSpeed: spreading a model is `vtr.training.spread`'s, and transformers would load
    nothing into it; nor of pieces, by which it would divide all gradients, or of compiling, both of them the recipe's.
    Raises WorkError where the processes do not find each other, ConfigError where the environment does not say how, or
    says what is not there.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState
    from accelerate.utils import ProjectConfiguration

    for name, words in REFUSED.items():
        if says(os.environ, name):
            raise ConfigError(
                f"accelerate is set to {words}, which vtr's models are not made for",
                "leave it out; FSDP and DeepSpeed's ZeRO spread a model over processes: see docs/scale.md",
            )
    own, joined = not AcceleratorState._shared_state, dist.is_available() and dist.is_initialized()
    if where.index is not None and where.type == "cuda":
        torch.cuda.set_device(where)
    accelerator = None
    asked = {name: os.environ.pop(name) for name in [*os.environ] if name in UNHEARD or name.startswith(DYNAMO)}
    try:
        with _joining():
            accelerator = Accelerator(
                mixed_precision={"fp32": "no"}.get(precision, precision),
                cpu=where.type == "cpu",
                log_with=tracker or None,
                project_config=ProjectConfiguration(str(out), str(out / "trackers")) if tracker and out else None,
            )
        if own and not joined and accelerator.num_processes > 1:
            atexit.register(dist.destroy_process_group)
        backend = asked.get(f"{DYNAMO}BACKEND", "no")
        if backend.lower() != "no" and accelerator.is_main_process:
            warn(f"accelerate's dynamo_backend {backend} is not followed: --set train.compile=true compiles the towers")
        yield accelerator
    except BaseException:
        atexit.unregister(dist.destroy_process_group)  # it would wait for others that may be gone
        raise
    finally:
        os.environ.update(asked)
        for one in accelerator.trackers if accelerator is not None else ():
            one.finish()
        if own:
            AcceleratorState._reset_state(reset_partial_state=True)


@contextmanager
def _joining() -> Iterator[None]:
    """Around what connects the processes to each other."""
    try:
        yield
    except ValueError as error:  # what the environment says of them is missing, or no number
        if not TELLS & os.environ.keys():
            raise
        raise ConfigError(
            f"what RANK, WORLD_SIZE and MASTER_ADDR say does not connect the processes: {str(error).splitlines()[0]}",
            "give --num-processes N, or start with torchrun or accelerate launch: they set all that is needed",
        ) from error
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and not _is_of_a_connection(error):
            raise
        world, place = os.environ.get("WORLD_SIZE"), [os.environ.get(f"MASTER_{name}", "") for name in ("ADDR", "PORT")]
        raise WorkError(
            f"the {world} processes of this run do not meet at {':'.join(place)}: {str(error).splitlines()[0]}",
            "see what the others said, and that no other program listens there; then the same command goes on",
        ) from error


def check_tracker(name: str) -> str:
    """`name` as it came. Raises ConfigError when Accelerate does not know that tracker, or it is not installed."""
    if name:
        from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

        known = sorted(str(one) for one in LOGGER_TYPE_TO_CLASS)
        if name not in known:
            raise ConfigError(f"train.tracker = {name!r} is unknown", f"choose one of: {', '.join(known)}")
        if name not in map(str, get_available_trackers()):
            raise ConfigError(f"train.tracker = {name!r} is not installed", f"pip install {name}")
    return name


@contextmanager
def processes_watched(world: int) -> Iterator[None]:
    """Around what processes do together: one that is gone, as the others' connections tell, becomes a WorkError."""
    try:
        yield
    except RuntimeError as error:
        if world == 1 or not _is_of_a_connection(error):
            raise
        raise WorkError(
            f"another of the {world} processes is gone: {str(error).splitlines()[0]}",
            "see what that process said; the same command goes on where it stopped",
        ) from error


def _is_of_a_connection(error: RuntimeError) -> bool:
    return any(word in str(error) for word in CONNECTIONS)
