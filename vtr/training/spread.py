"""A model that is spread over processes layer by layer (torch's FSDP2), as Accelerate's file asks for it.

A checkpoint is whole all the same, and the same as without: it goes on with any number of processes, spread or not.
What `accelerate launch` says by its environment is followed where it says how to spread; the rest is as elsewhere.
Of DeepSpeed that is the stage of ZeRO, which FSDP2 does as well: with DeepSpeed's engine, which steps the optimizer
itself, neither exact pieces nor steps that are skipped would be possible.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from vtr import plainjson
from vtr.config import Config
from vtr.errors import ConfigError
from vtr.gather import world_size
from vtr.models.recompute import layers, recompute_activations

FSDP, DEEPSPEED = "ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED"
OFFLOADED = ("offload_optimizer", "offload_param")


class Spread:
    """How a model is spread, in a word; and a whole copy of its objective on the CPU, filled when one is wanted."""

    def __init__(self, *, gather_again: bool = True, checkpointing: bool = False, name: str = "FSDP") -> None:
        self.gather_again, self.checkpointing, self.name = gather_again, checkpointing, name
        self.whole: Any = None

    def begin(self, objective: nn.Module) -> None:
        """Takes the copy, before anything is done to `objective`."""
        self.whole = copy.deepcopy(objective)
        if self.checkpointing:
            recompute_activations(objective)

    def share(self, step: Any, optimizer: torch.optim.Optimizer, device: torch.device) -> None:
        """Spreads the objective of `step`, in place: each layer on its own, then what is left.

        Scalars stay whole: `average_gradients` is for them. `optimizer` has the same weights in the same order after.
        """
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        name_of = {parameter: name for name, parameter in step.named_parameters()}
        groups = [[name_of[parameter] for parameter in group["params"]] for group in optimizer.param_groups]
        step.to(device)
        for tensor in chain(step.parameters(), step.buffers()):  # alike in all, as the wrapper of whole models does
            dist.broadcast(tensor.data, 0)
        how: dict[str, Any] = {
            "mesh": init_device_mesh(device.type, (world_size(),)),
            "ignored_params": {parameter for parameter in step.parameters() if not parameter.ndim},
        }
        for layer in layers(step):
            fully_shard(layer, reshard_after_forward=self.gather_again, **how)
        fully_shard(step, **how)
        step.spread = True
        now = dict(step.named_parameters())
        for group, names in zip(optimizer.param_groups, groups, strict=True):
            group["params"] = [now[name] for name in names]

    def fill(self, objective: nn.Module) -> None:
        """Makes the copy what `objective` is now. All processes take part."""
        self.whole.load_state_dict({name: whole(value) for name, value in objective.state_dict().items()})


def asked(environment: Mapping[str, str], config: Config, precision: str) -> Spread | None:
    """How `accelerate launch` says to spread the model, or None.

    Raises ConfigError for what is not there, FSDP's first version and memory of the CPU, and what does not go together
    with it.
    """
    if says(environment, DEEPSPEED):
        spread, offloaded = _zero(environment)
    elif says(environment, FSDP):
        spread, offloaded = _fsdp(environment)
    else:
        return None
    if spread is None:
        return None
    refused = {
        offloaded: bool(offloaded),
        "train.ema": bool(config.train.ema),
        "train.compile": config.train.compile,
        "train.precision = 'fp16'": precision == "fp16",
    }
    for name, there in refused.items():
        if there:
            raise ConfigError(
                f"{name} does not go together with a model that is spread over processes ({spread.name})",
                "leave it out, or train with the model whole on each: accelerate's MULTI_GPU",
            )
    if tuple(map(int, torch.__version__.split(".")[:2])) < (2, 7):
        raise ConfigError(f"FSDP needs torch 2.7, this is {torch.__version__}", "pip install -U torch")
    return spread


def _fsdp(environment: Mapping[str, str]) -> tuple[Spread, str]:
    """What accelerate's fsdp_config says, and what it wants on the CPU."""
    if environment.get("FSDP_VERSION", "1") != "2":
        raise ConfigError(
            f"accelerate is set to FSDP version {environment.get('FSDP_VERSION', '1')}, vtr takes the second",
            "write fsdp_version: 2 under fsdp_config in accelerate's file",
        )
    spread = Spread(
        gather_again=environment.get("FSDP_RESHARD_AFTER_FORWARD", "true").lower() != "false",
        checkpointing=says(environment, "FSDP_ACTIVATION_CHECKPOINTING"),
    )
    return spread, "fsdp_offload_params: true" if says(environment, "FSDP_OFFLOAD_PARAMS") else ""


def _zero(environment: Mapping[str, str]) -> tuple[Spread | None, str]:
    """What accelerate's deepspeed_config says, or the file of DeepSpeed's own that it names; and what it offloads.

    At stage 3 each layer is gathered for forward and again for backward; at 1 and 2 it stays between them. At stage 0
    nothing is spread: None.
    """
    stage = environment.get("ACCELERATE_DEEPSPEED_ZERO_STAGE", "2")
    offload = {name: environment.get(f"ACCELERATE_DEEPSPEED_{name.upper()}_DEVICE", "none") for name in OFFLOADED}
    file = environment.get("ACCELERATE_DEEPSPEED_CONFIG_FILE", "none")
    if file.lower() != "none":
        try:
            zero = dict(plainjson.loads(Path(file).read_text()).get("zero_optimization", {}))
            offload = {name: str(dict(zero.get(name) or {}).get("device", "none")) for name in OFFLOADED}
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise ConfigError(
                f"deepspeed_config_file {file} cannot be read: {error}", "give the path of DeepSpeed's own JSON file"
            ) from error
        stage = str(zero.get("stage", 0))
    if stage not in {"0", "1", "2", "3"}:
        raise ConfigError(f"ZeRO has no stage {stage!r}", "write zero_stage: 3, or 2, 1, 0, under deepspeed_config")
    used = [f"{name}: {device}" for name, device in offload.items() if device.lower() != "none"]
    spread = None if stage == "0" else Spread(gather_again=stage == "3", name=f"ZeRO-{stage}, by torch's FSDP")
    return spread, "".join(used[:1])


def whole(value: Any) -> Any:
    """A spread tensor put together, on the CPU; anything else as it is. All processes take part."""
    return value.full_tensor().cpu() if hasattr(value, "full_tensor") else value


def whole_state(optimizer: Any, *, keep: bool) -> dict[str, Any]:
    """The optimizer's state, put together by all processes; those that do not `keep` it have no use for it."""
    state: dict[str, Any] = optimizer.state_dict()
    found = {}
    for number, values in state["state"].items():
        each = {name: whole(value) for name, value in values.items()}
        if keep:
            found[number] = each
    return {**state, "state": found}


def spread_state(optimizer: Any, state: dict[str, Any]) -> dict[str, Any]:
    """A whole state as `optimizer` has it: each process takes its part of what belongs to spread weights."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if not any(hasattr(parameter, "placements") for parameter in parameters):
        return state
    from torch.distributed.tensor import distribute_tensor

    def part(parameter: Any, value: Any) -> Any:
        if not hasattr(parameter, "placements") or not isinstance(value, Tensor) or value.shape != parameter.shape:
            return value
        there = value.to(parameter.device)
        return distribute_tensor(there, parameter.device_mesh, parameter.placements, src_data_rank=None)

    found = {
        number: {name: part(parameters[number], value) for name, value in values.items()}
        for number, values in state["state"].items()
    }
    return {**state, "state": found}


def clip_gradients(parameters: Iterable[nn.Parameter], limit: float) -> Tensor:
    """() the norm of all gradients of a spread model, which are then scaled down to `limit` where it is above."""
    spread, own = [], []
    for parameter in parameters:
        if parameter.grad is not None:
            grad: Any = parameter.grad
            if hasattr(grad, "placements"):
                spread.append(grad.to_local())
            else:
                own.append(grad)
    squares = torch.stack([grad.float().square().sum() for grad in spread]).sum()
    dist.all_reduce(squares)
    norm: Tensor = (squares + sum(grad.float().square().sum() for grad in own)).sqrt()
    factor = (limit / (norm + 1e-6)).clamp(max=1.0)
    for grad in (*spread, *own):
        grad.mul_(factor)
    return norm


def says(environment: Mapping[str, str], name: str) -> bool:
    """Whether the variable `name` is there and true."""
    return environment.get(name, "false").lower() in {"true", "1", "yes"}
