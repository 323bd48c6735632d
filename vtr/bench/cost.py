"""What a training costs before anything is run: multiplications and additions of a sample, counted on the model itself.

Counted are forward and backward pass of the objective, all its passes included (a snapshot's, a decoder's), with full
captions. A model of one block and models of two are counted, and the rest follows: every block costs the same.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vtr.config import Config


def gflop_a_sample(config: Config) -> float:
    """10^9 floating-point operations that a training step of `config` takes for each of its samples."""
    wanted = {"model.depth": config.model.depth}
    if config.model.kind == "dual":
        wanted["model.text_depth"] = config.model.text_depth
    if config.objective.name == "simvtp":
        wanted["objective.decoder_depth"] = config.objective.decoder_depth
    depths = dict.fromkeys(wanted, 1)
    one = _count(config, depths)
    return one + sum((wanted[key] - 1) * (_count(config, {**depths, key: 2}) - one) for key in depths)


def hours(gflop: float, samples: float, gpus: int, tflops: float) -> float:
    """Hours for so many samples (epochs x size) on `gpus` that each reach `tflops` x 10^12 operations a second."""
    return gflop * samples / (gpus * tflops * 1000 * 3600)


def _count(config: Config, depths: dict[str, Any], batch_size: int = 2) -> float:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from vtr import build, makers, recipe
    from vtr.footprint import BERT, noise

    # New weights of the same shapes; a snapshot is counted as it is after its first turn.
    vocabulary = BERT if config.model.text else config.model.vocabulary
    config = recipe.override(config, {"model.video": "", "model.text": "", "objective.snapshot_wait": False, **depths})
    words: Any = SimpleNamespace(vocabulary=vocabulary, pad_id=0, mask_id=3)
    objective = makers.make_objective(config, build.make_model(config, words).train(), words)
    batch = noise(config, batch_size, torch.device("cpu"))
    with FlopCounterMode(display=False) as counter:
        torch.stack(list(objective(batch, 0).values())).sum().backward()  # type: ignore[no-untyped-call]
    return float(counter.get_total_flops()) / batch_size / 1e9
