"""An objective of one's own: `vtr.pretrain(..., objective=...)`."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

import vtr
from vtr import recipe
from vtr.errors import RunError
from vtr.losses import norm_softmax


class Own(nn.Module):
    """A contrast with a learned scale beside the model."""

    def __init__(self, model, tokenizer) -> None:
        super().__init__()
        self.model, self.mask_id = model, tokenizer.mask_id
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, batch, seed, masked=True):
        video = self.model.encode_video(batch.clips)
        text = self.model.encode_text(batch.ids, batch.attention)
        return {"own": self.scale * norm_softmax(video, text, self.model.temperature, batch.ok, batch.samples)}


class Other(Own):
    """Another one."""


def test_it_trains_and_its_parts_are_kept(nano, shards, tmp_path) -> None:
    config = recipe.override(recipe.load(str(nano)), {"train.steps": 2})
    checkpoint = vtr.pretrain(config, shards, tmp_path / "run", objective=Own)
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["loss"] == pytest.approx(lines[-1]["own"])
    assert (checkpoint / "objective.safetensors").is_file()
    vtr.evaluate(tmp_path / "run", shards, device="cpu", draws=0)  # the model needs nothing of it


def test_a_run_goes_on_with_the_same_objective_alone(nano, shards, tmp_path) -> None:
    config = recipe.override(recipe.load(str(nano)), {"train.steps": 2})
    vtr.pretrain(config, shards, tmp_path / "run", objective=Own)
    vtr.pretrain(config, shards, tmp_path / "run", objective=Own)
    with pytest.raises(RunError, match=r"was trained with the objective Own, not Other"):
        vtr.pretrain(config, shards, tmp_path / "run", objective=Other)
    with pytest.raises(RunError, match=r"was trained with the objective Own, not nothing"):
        vtr.pretrain(config, shards, tmp_path / "run")
