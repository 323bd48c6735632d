"""Every objective, with a batch of noise, alike in every process. A new objective belongs into `CASES`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from vtr.objectives.contrastive import Contrastive
from vtr.objectives.mac import MAC
from vtr.objectives.miles import MILES
from vtr.types import Batch

sys.path.append(str(Path(__file__).parent.parent / "objectives"))
import toy

CASES: dict[str, Callable[[], nn.Module]] = {
    "contrastive": lambda: Contrastive(toy.model()),
    "contrastive, sigmoid": lambda: Contrastive(toy.model(learn_temperature=True), "sigmoid"),
    "mac": lambda: MAC(toy.model(), toy.MASK_ID, 0.6, 0.3),
    "mac, joint, tube, a learned temperature": lambda: MAC(
        toy.model("joint", 2, learn_temperature=True), toy.MASK_ID, 0.6, 0.3, "tube"
    ),
    "miles": lambda: MILES(toy.model(), toy.MASK_ID, head="linear", wait=False),
}


def make(name: str) -> tuple[nn.Module, Batch]:
    """A fresh objective, and 8 clips of which one cannot be read and two are the same."""
    batch = toy.batch(8)
    samples = torch.tensor([100, 107, 114, 121, 107, 135, 142, 149])
    return CASES[name](), replace(
        batch, ok=torch.arange(8) != 5, samples=samples, keys=tuple(f"clip-{n}" for n in range(8))
    )
