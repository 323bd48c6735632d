"""Whether training is well: steps that are not finite, vectors that collapse, memory.

Letters: B batch, E joint embedding.
"""

from __future__ import annotations

import json
import math
import resource
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vtr.errors import WorkError


@dataclass(frozen=True)
class _Verdict:
    """What is known of a step before anybody looks; the figures stay on the device.

    `bad` () is the same in all processes; loss, norm and `sums` (B,), of the vectors of each sample, are this one's.
    """

    step: int
    bad: Tensor
    figures: Tensor
    sums: Tensor | None
    keys: tuple[str, ...]


@dataclass
class Finite:
    """Keeps steps whose loss or gradient is not finite from changing anything, and stops after `allowed` of them.

    The verdict on a step stays on the device, where the optimizer reads it: no step waits for it. `look` fetches them.
    `gather` gives each of several processes the concatenated lists of all, and is called for steps that were bad alone.
    """

    path: Path
    allowed: int
    skipped: int = 0
    show: bool = True
    gather: Callable[[list[Any]], list[Any]] | None = None
    _waiting: list[_Verdict] = field(default_factory=list)

    def step(
        self,
        step: int,
        loss: Tensor,
        norm: Tensor,
        keys: tuple[str, ...],
        seen: dict[str, Tensor],
        optimizer: Any,
        accelerator: Any,
    ) -> Tensor:
        """Steps `optimizer`, unless `loss` or the gradients' `norm` is not finite; (): 1 where it did not, else 0.

        `seen` holds the (B,E) vectors of its samples, where there are any.
        """
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
        # Pieces with losses of their own leave the vectors of the last alone.
        whole = bool(seen) and all(len(rows) == len(keys) for rows in seen.values())
        sums = torch.stack([rows.float().sum(-1) for rows in seen.values()]).sum(0) if whole else None
        self._waiting.append(_Verdict(step, bad, torch.stack([loss.float(), norm.float()]), sums, keys))
        return torch.ones_like(bad) if getattr(optimizer, "step_was_skipped", False) else bad  # by the scaler of fp16

    def look(self) -> None:
        """Counts the steps skipped since the last look. Raises WorkError, naming the batch, past `allowed`."""
        waiting, self._waiting = self._waiting, []
        if not waiting or not torch.stack([verdict.bad for verdict in waiting]).sum().item():
            return
        for verdict in waiting:
            if not verdict.bad.item():
                continue
            self.skipped += 1
            loss, norm, keys, named = self._blame(verdict)
            if self.show:
                with self.path.open("a") as file:
                    record = {"step": verdict.step + 1, "loss": str(loss), "gradient_norm": str(norm), "keys": keys}
                    file.write(json.dumps(record | ({"not_finite": named} if named else {})) + "\n")
            if self.skipped > self.allowed:
                what = "the vectors that are not finite are of" if named else "this batch held"
                some = named or keys
                raise WorkError(
                    f"the loss is {loss}, its gradient's norm {norm}, at step {verdict.step + 1}; "
                    f"{what} {', '.join(some[:8])}{' ...' if len(some) > 8 else ''}: see {self.path}",
                    "lower --lr, give --set optim.clip=1.0, train with --precision fp32, "
                    "or let some steps be skipped with --set train.skip_nonfinite=N",
                )

    def _blame(self, verdict: _Verdict) -> tuple[float, float, list[str], list[str]]:
        """(loss, gradient's norm, keys of the batch, those among them whose vectors are not finite).

        The batch is that of the processes that had the fault, where it can be told which these are; else of all.
        """
        loss, norm = verdict.figures.tolist()
        fine = [True] * len(verdict.keys) if verdict.sums is None else torch.isfinite(verdict.sums).tolist()
        named = [key for key, well in zip(verdict.keys, fine, strict=True) if not well]
        every = [(loss, norm, verdict.keys, named)]
        if self.gather is not None:
            every = self.gather(every)
        # A loss over all rows is not finite anywhere once one row is not.
        guilty = [one for one in every if one[3]] or [one for one in every if not math.isfinite(one[0])] or every
        keys = [key for one in guilty for key in one[2]]
        return guilty[0][0], guilty[0][1], keys, [key for one in guilty for key in one[3]]


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
