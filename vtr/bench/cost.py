"""What a training costs before anything is run: multiplications and additions of a sample, counted on the model itself.

Counted are forward and backward pass of the objective, all its passes included (a snapshot's, a decoder's), with full
captions. A model of one block and models of two are counted, and the rest follows: every block costs the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from vtr.config import OWN, ObjectiveConfig

if TYPE_CHECKING:
    from torch import nn

    from vtr.config import Config
    from vtr.data.tokenizer import CaptionTokenizer

    Maker = Callable[[Any, CaptionTokenizer], nn.Module]


def gflop_a_sample(config: Config, objective: Maker | None = None) -> float:
    """10^9 floating-point operations that a training step of `config` takes for each of its samples.

    `objective(model, tokenizer)` makes one of your own, as for `vtr.pretrain`; what it trains beside the towers counts
    as it is. Raises ConfigError for the config of a run that had one, where it is not given.
    """
    if objective is not None:
        config = replace(config, objective=ObjectiveConfig(name=OWN))
    wanted = {"model.depth": config.model.depth}
    if config.model.kind == "dual":
        wanted["model.text_depth"] = config.model.text_depth
    if config.objective.name == "simvtp":
        wanted["objective.decoder_depth"] = config.objective.decoder_depth
    depths = dict.fromkeys(wanted, 1)
    one = _count(config, depths, objective)
    return one + sum((wanted[key] - 1) * (_count(config, {**depths, key: 2}, objective) - one) for key in depths)


def hours(gflop: float, samples: float, gpus: int, tflops: float) -> float:
    """Hours for so many samples (epochs x size) on `gpus` that each reach `tflops` x 10^12 operations a second."""
    return gflop * samples / (gpus * tflops * 1000 * 3600)


def _count(config: Config, depths: dict[str, Any], own: Maker | None, batch_size: int = 2) -> float:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from vtr import build, makers, recipe
    from vtr.footprint import BERT, WORDS, noise

    # New weights of the same shapes; a snapshot is counted as it is after its first turn.
    vocabulary = BERT if config.model.text else max(WORDS, config.model.vocabulary)
    waits = {"objective.snapshot_wait": False} if own is None else {}
    config = recipe.override(config, {"model.video": "", "model.text": "", **waits, **depths})
    words: Any = SimpleNamespace(vocabulary=vocabulary, pad_id=0, mask_id=3)
    objective = (own or partial(makers.make_objective, config))(build.make_model(config, words).train(), words)
    batch = noise(config, batch_size, torch.device("cpu"))
    with FlopCounterMode(display=False) as counter:
        torch.stack(list(objective(batch, 0).values())).sum().backward()  # type: ignore[no-untyped-call]
    return float(counter.get_total_flops()) / batch_size / 1e9
