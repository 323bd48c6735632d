"""What a checkpoint holds of training beside weights: `state/optimizer.pt`, and `state/trainer.json` with its place."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import torch

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
    """Fills `optimizer` and `scaler` with what `write_state` wrote, and returns trainer.json."""
    state = folder / FOLDER
    trainer: dict[str, Any] = json.loads((state / TRAINER).read_text())
    kept = torch.load(state / OPTIMIZER, map_location="cpu", weights_only=True)
    optimizer.load_state_dict(spread_state(optimizer, kept))
    if scaler is not None and "scaler" in trainer:
        scaler.load_state_dict(trainer["scaler"])
    return trainer
