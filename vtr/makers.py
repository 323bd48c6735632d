"""Objectives from a Config."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from vtr.config import OWN, Config
from vtr.data.tokenizer import CaptionTokenizer
from vtr.errors import ConfigError
from vtr.models.dual import DualEncoder
from vtr.models.embedder import Model
from vtr.models.joint import UnifiedEncoder
from vtr.objectives.contrastive import Contrastive
from vtr.objectives.mac import MAC
from vtr.objectives.miles import MILES
from vtr.objectives.simvtp import SimVTP

if TYPE_CHECKING:
    from torch import nn


def make_objective(
    config: Config, model: Model, tokenizer: CaptionTokenizer, steps: int = 1, epoch_steps: int = 1, batch: int = 1
) -> nn.Module:
    """The objective by its name, for a run of `steps` of `batch` samples; `epoch_steps` are a pass over the data.

    Raises ConfigError for one's own, which a name cannot make.
    """
    o, mask_id = config.objective, tokenizer.mask_id
    if o.name == OWN:
        raise ConfigError(
            "objective.name = 'own': what a run trained with an objective of its own, its config does not say",
            "give that to vtr.pretrain(..., objective=...), or choose mac, simvtp, miles or contrastive",
        )
    if o.name == "contrastive":
        return Contrastive(model, o.loss)
    if o.name == "simvtp":
        return SimVTP(
            cast(UnifiedEncoder, model), mask_id, o.mask_ratio, o.word_ratio, o.mask, o.negatives, o.decoder_width,
            o.decoder_depth, o.decoder_heads, o.loss, o.pixel_floor,
        )  # fmt: skip
    dual = cast(DualEncoder, model)  # the config has seen to it
    if o.name == "miles":
        every = o.snapshot_samples // batch if o.snapshot_samples else epoch_steps
        return MILES(
            dual, mask_id, o.mask_ratio, o.word_ratio, o.mask, o.predict_weight, o.predict_space, o.predict_head,
            max(1, every), o.snapshot_momentum, steps, o.snapshot_wait, o.loss,
        )  # fmt: skip
    return MAC(dual, mask_id, o.mask_ratio, o.word_ratio, o.mask, o.loss)
