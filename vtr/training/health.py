"""Whether training is well: steps that are not finite, vectors that collapse, memory.

Letters: B batch, E joint embedding.
"""

from __future__ import annotations

import json
import resource
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vtr.errors import WorkError


@dataclass
class Finite:
    """Keeps steps whose loss or gradient is not finite from changing anything, and stops after `allowed` of them.

    The verdict on a step stays on the device, where the optimizer reads it: no step waits for it. `look` fetches them.
    """

    path: Path
    allowed: int
    skipped: int = 0
    show: bool = True
    _waiting: list[tuple[int, Tensor, Tensor, tuple[str, ...]]] = field(default_factory=list)

    def step(
        self, step: int, loss: Tensor, norm: Tensor, keys: tuple[str, ...], optimizer: Any, accelerator: Any
    ) -> Tensor:
        """Steps `optimizer`, unless `loss` or the gradients' `norm` is not finite; (): 1 where it did not, else 0."""
        bad = ~torch.isfinite(loss)
        if accelerator.scaler is None:  # with fp16 an infinite gradient only lowers the scale
            bad = bad | ~torch.isfinite(norm)
        bad = bad.float()
        if accelerator.num_processes > 1:
            bad = accelerator.reduce(bad).clamp(max=1.0)
        inner = getattr(optimizer, "optimizer", optimizer)
        if accelerator.scaler is not None:
            optimizer.step()
        elif inner.defaults.get("fused"):
            inner.found_inf = bad  # fused AdamW reads it as it steps
            optimizer.step()
        elif not bad.item():
            optimizer.step()
        self._waiting.append((step, bad, torch.stack([loss.float(), norm.float()]), keys))
        return torch.ones_like(bad) if getattr(optimizer, "step_was_skipped", False) else bad  # by the scaler of fp16

    def look(self) -> None:
        """Counts the steps skipped since the last look. Raises WorkError, naming the batch, past `allowed`."""
        waiting, self._waiting = self._waiting, []
        if not waiting or not torch.stack([bad for _, bad, _, _ in waiting]).sum().item():
            return
        for step, bad, figures, keys in waiting:
            if not bad.item():
                continue
            self.skipped += 1
            loss, norm = figures.tolist()
            if self.show:
                with self.path.open("a") as file:
                    record = {"step": step + 1, "loss": str(loss), "gradient_norm": str(norm), "keys": keys}
                    file.write(json.dumps(record) + "\n")
            if self.skipped > self.allowed:
                raise WorkError(
                    f"the loss is {loss}, its gradient's norm {norm}, at step {step + 1}; "
                    f"this batch held {', '.join(keys[:8])}{' ...' if len(keys) > 8 else ''}: see {self.path}",
                    "lower --lr, give --set optim.clip=1.0, train with --precision fp32, "
                    "or let some steps be skipped with --set train.skip_nonfinite=N",
                )


def figures(objective: nn.Module, seen: dict[str, Tensor], device: torch.device) -> dict[str, float]:
    """What the log tells of a step beside its loss: spread of the vectors `seen`, temperature, memory."""
    values = {f"{name}_spread": round(spread(rows), 4) for name, rows in seen.items()}
    temperature = getattr(getattr(objective, "model", None), "temperature", None)
    if temperature is not None:
        values["temperature"] = float(temperature.detach())
    return values | {"memory_gb": round(memory_gb(device), 3)}


def spread(rows: Tensor) -> float:
    """(B,E) -> the mean of `1 - cosine` between different rows: 1 where they are unrelated, 0 where all are one."""
    if len(rows) < 2:
        return float("nan")
    mean = F.normalize(rows.float(), dim=-1).mean(0)
    return float((1 - mean.square().sum()) * len(rows) / (len(rows) - 1))


def memory_gb(device: torch.device) -> float:
    """The most memory used so far, in GiB: of the GPU where there is one, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30
