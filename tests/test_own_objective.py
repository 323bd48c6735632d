"""An objective of one's own: `vtr.pretrain(..., objective=...)`."""

from __future__ import annotations

import json
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import vtr
from vtr import api, makers, recipe
from vtr.bench.cost import gflop_a_sample
from vtr.errors import ConfigError, RunError
from vtr.losses import norm_softmax


class Own(nn.Module):
    """A contrast with a learned scale beside the model."""

    def __init__(self, model, tokenizer, margin=0.0) -> None:
        super().__init__()
        self.model, self.mask_id, self.margin = model, tokenizer.mask_id, margin
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


class Bare(Own):
    """One that forgets the name of its loss."""

    def forward(self, batch, seed, masked=True):
        return super().forward(batch, seed, masked)["own"]


class Rows(Own):
    """One that forgets to take the mean."""

    def forward(self, batch, seed, masked=True):
        return {"rows": self.model.encode_video(batch.clips).sum(1)}


class Hidden(nn.Module):
    """One that does not register the model."""

    def __init__(self, model, tokenizer) -> None:
        super().__init__()
        self.parts = [model, tokenizer]


class Renamed(nn.Module):
    """One with a part of its own, and the model by another name."""

    def __init__(self, model, tokenizer) -> None:
        super().__init__()
        self.net, self.scale = model, nn.Parameter(torch.ones(()))


class Half(Own):
    """One that holds a part of the model in its place."""

    def __init__(self, model, tokenizer) -> None:
        super().__init__(model, tokenizer)
        self.model = model.video


class Plain:
    """One that is no module."""

    def __init__(self, model, tokenizer) -> None:
        self.model = model


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (Bare, r'Bare returned a Tensor, and should return loss terms\n.*return \{"name": loss\}'),
        (Rows, r"Rows returned 'rows': a tensor \[8\], and should"),
        (Hidden, r"does not hold the model that it was given.*\n.*self.model = model"),
        (Renamed, r"does not hold the model that it was given"),
        (Half, r"does not hold the model that it was given"),
        (Plain, r"does not hold the model that it was given"),
    ],
)
def test_what_is_wrong_with_one_is_said(nano, shards, tmp_path, wrong, words) -> None:
    config = recipe.override(recipe.load(str(nano)), {"train.steps": 1})
    with pytest.raises(ConfigError, match=words):
        vtr.pretrain(config, shards, tmp_path / "run", objective=wrong)


def test_a_run_goes_on_with_the_same_objective_alone(nano, shards, tmp_path) -> None:
    config = recipe.override(recipe.load(str(nano)), {"train.steps": 2})
    vtr.pretrain(config, shards, tmp_path / "run", objective=Own)
    vtr.pretrain(config, shards, tmp_path / "run", objective=Own)
    with pytest.raises(RunError, match=r"was trained with the objective Own, not Other"):
        vtr.pretrain(config, shards, tmp_path / "run", objective=Other)
    with pytest.raises(RunError, match=r"was trained with the objective Own, not nothing"):
        vtr.pretrain(config, shards, tmp_path / "run")


def test_its_arguments_are_part_of_it(nano, shards, tmp_path) -> None:
    """They are told as they are in the next process, too: by what they are, not where."""
    config = recipe.override(recipe.load(str(nano)), {"train.steps": 1})
    out = tmp_path / "run"
    vtr.pretrain(config, shards, out, objective=partial(partial(Own, margin=0.1)))
    assert json.loads((out / "run.json").read_text())["objective"] == "Own(margin=0.1)"
    vtr.pretrain(config, shards, out, objective=partial(Own, margin=0.1))
    for other, told in ((partial(Own, margin=9.0), r"Own\(margin=9.0\)"), (partial(Other, margin=0.1), r"Other\(.*\)")):
        with pytest.raises(RunError, match=rf"with the objective Own\(margin=0.1\), not {told}"):
            vtr.pretrain(config, shards, out, objective=other)
    vtr.pretrain(config, shards, tmp_path / "c", objective=partial(Own, margin=object()))
    assert json.loads((tmp_path / "c/run.json").read_text())["objective"] == "Own(margin=<object object>)"


def test_what_it_costs_is_counted(nano, shards, tmp_path) -> None:
    config = recipe.override(recipe.load(str(nano)), {"train.steps": 1, "model.depth": 3})
    plain = gflop_a_sample(recipe.override(config, {"objective.name": "contrastive"}))
    assert gflop_a_sample(config, Own) == pytest.approx(plain, rel=1e-3)
    assert gflop_a_sample(config) < plain
    written = recipe.load(str(vtr.pretrain(config, shards, tmp_path / "run", objective=Own) / "config.toml"))
    assert gflop_a_sample(written, objective=partial(Own, margin=0.1)) == pytest.approx(plain, rel=1e-3)
    with pytest.raises(ConfigError, match=r"objective.name = 'own': .* its config does not say"):
        gflop_a_sample(written)
    with pytest.raises(RunError, match=r"an objective of its own; what that hides .*\n.*mac, simvtp or miles"):
        api.reconstruct(tmp_path / "run", tmp_path / "sheet.png")


def test_its_config_says_no_other(nano, shards, tmp_path) -> None:
    config = recipe.override(recipe.load(str(nano)), {"train.steps": 1})
    with pytest.raises(ConfigError, match=r"objective.mask_ratio = 0.5 is a setting of vtr's.*\n.*functools.partial"):
        vtr.pretrain(config, shards, tmp_path / "run", objective=Own, overrides={"objective.mask_ratio": 0.5})
    checkpoint = vtr.pretrain(config, shards, tmp_path / "run", objective=Own)
    written = str(checkpoint / "config.toml")
    assert '[objective]\nname = "own"\n\n[' in recipe.text(written)
    with pytest.raises(ConfigError, match=r"objective.name = 'own' names an objective .*\n.*--set objective.name=mac"):
        vtr.pretrain(written, shards, tmp_path / "other")
    assert not (tmp_path / "other").exists()
    with pytest.raises(ConfigError, match=r"objective.name = 'own': .* its config does not say\n.*choose mac"):
        makers.make_objective(recipe.load(written), None, SimpleNamespace(mask_id=3))
    tuned = vtr.finetune(tmp_path / "run", shards, tmp_path / "tuned", overrides={"train.steps": 1})
    assert recipe.load(str(tuned / "config.toml")).objective.name == "contrastive"
