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
from vtr.objectives.simvtp import SimVTP
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
    "simvtp": lambda: simvtp("random"),
    "simvtp, hard, a learned temperature": lambda: simvtp("hard", learn_temperature=True),
    "miles": lambda: MILES(toy.model(), toy.MASK_ID, head="linear", wait=False),
}


def simvtp(negatives: str, *, learn_temperature: bool = False) -> nn.Module:
    model = toy.unified(learn_temperature=learn_temperature)
    torch.manual_seed(3)
    objective = SimVTP(
        model, toy.MASK_ID, 0.75, 0.5, negatives=negatives, decoder_width=12, decoder_depth=1, decoder_heads=3
    )
    for part in (objective.decoder, objective.word_head, objective.match_head):
        toy.randomised(part)
    return objective


def make(name: str) -> tuple[nn.Module, Batch]:
    """A fresh objective, and 8 clips of which one cannot be read and two are the same."""
    batch = toy.batch(8)
    samples = torch.tensor([100, 107, 114, 121, 107, 135, 142, 149])
    return CASES[name](), replace(
        batch, ok=torch.arange(8) != 5, samples=samples, keys=tuple(f"clip-{n}" for n in range(8))
    )
