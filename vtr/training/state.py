"""What a checkpoint holds of training beside weights: `state/optimizer.pt`, and `state/trainer.json` with its place."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vtr import plainjson
from vtr.errors import RunError
from vtr.models import pth
from vtr.training.spread import spread_state

FOLDER, OPTIMIZER, TRAINER = "state", "optimizer.pt", "trainer.json"


def write_state(folder: Path, optimizer: dict[str, Any], scaler: Any, trainer: dict[str, Any]) -> None:
    """Writes `folder`/state: the state of the optimizer, and of `scaler`, that of fp16, or None."""
    state = folder / FOLDER
    state.mkdir()
    buffer = io.BytesIO()  # written by Python, as the weights are: a full disk is then an OSError that names itself
    torch.save(optimizer, buffer)
    (state / OPTIMIZER).write_bytes(buffer.getbuffer())
    scale = {} if scaler is None else {"scaler": scaler.state_dict()}
    (state / TRAINER).write_text(json.dumps(trainer | scale))


def read_state(folder: Path, optimizer: Any, scaler: Any) -> dict[str, Any]:
    """Fills `optimizer` and `scaler` with what `write_state` wrote, and returns trainer.json.

    Nothing in the files is run. Raises RunError when they are damaged, or of another model or optimizer.
    """
    state = folder / FOLDER
    try:
        trainer: dict[str, Any] = dict(plainjson.load(state / TRAINER))
        trainer |= {name: int(trainer[name]) for name in ("step", "skipped")}
        if not 0 <= trainer["skipped"] <= trainer["step"]:
            raise ValueError(f"{TRAINER} counts steps that cannot be")
        settings = [dict(group) for group in optimizer.param_groups]
        optimizer.load_state_dict(spread_state(optimizer, pth.read(state / OPTIMIZER)))
        for group, ours in zip(optimizer.param_groups, settings, strict=True):
            group.update(ours)  # they come from the config, not from a file
        for parameter, kept in optimizer.state.items():
            for value in kept.values():
                if not isinstance(value, Tensor) or value.shape not in ((), parameter.shape):
                    raise ValueError(f"{OPTIMIZER} is of another model")
        if scaler is not None and "scaler" in trainer:
            scaler.load_state_dict(trainer["scaler"])
    except (MemoryError, torch.cuda.OutOfMemoryError):
        raise
    except Exception as error:  # what torch makes of a damaged file has many kinds
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise RunError(f"{state} cannot be gone on from: {why}", "start over with --fresh") from error
    return trainer
