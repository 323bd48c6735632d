"""The optimizer of a run: every layer at its rate, and what an objective trains beside its model at the full one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from vtr import build, makers, recipe
from vtr.config import Config
from vtr.errors import ConfigError
from vtr.objectives.contrastive import Contrastive
from vtr.run import make_optimizer

DECAY = {"optim.layer_decay": 0.5, "optim.lr": 1e-3}
MILES = {"objective.name": "miles", "objective.mask": "block", "objective.predict_head": "linear"}
SIMVTP = {
    "objective.name": "simvtp", "objective.mask": "tube", "objective.mask_ratio": 0.75, "objective.decoder_width": 8,
    "objective.decoder_depth": 3, "objective.decoder_heads": 2, "model.kind": "unified", "model.embed_dim": 32,
}  # fmt: skip


def objective_of(run: Path, given: dict[str, Any]) -> tuple[Config, torch.nn.Module]:
    config, _, words, _ = build.load_parts(run)
    config = recipe.override(config, DECAY | given)
    return config, makers.make_objective(config, build.make_model(config, words), words)


def rates(config: Config, objective: torch.nn.Module) -> dict[str, float]:
    """Each trained parameter's learning rate, as a share of the base."""
    lr = {id(p): group["lr"] for group in make_optimizer(config, objective, 8).param_groups for p in group["params"]}
    return {name: lr[id(p)] / 1e-3 for name, p in objective.named_parameters() if id(p) in lr}


def test_the_optimizer_has_each_layer_at_its_rate(run: Path) -> None:
    found = rates(*objective_of(run, MILES))
    for name, wanted in {
        "head.weight": 1, "model.vid_proj.weight": 1, "model.video.norm.weight": 1,
        "model.video.blocks.0.mlp.fc1.weight": 0.5, "model.video.pos_embed": 0.25,
        "mask_token": 0.25,  # it stands where patches do
        "model.text.model.transformer.layer.0.ffn.lin1.weight": 0.5,
    }.items():  # fmt: skip
        assert found[name] == pytest.approx(wanted), name


def test_layers_of_a_decoder_are_no_layers_of_the_encoder(run: Path) -> None:
    found = rates(*objective_of(run, SIMVTP))
    assert found["model.blocks.0.attn.qkv.weight"] == pytest.approx(0.5)
    assert found["model.patch_embed.weight"] == pytest.approx(0.25)
    beside = {name: rate for name, rate in found.items() if not name.startswith("model.")}
    assert len(beside) > 30
    assert set(beside.values()) == {1.0}


def test_a_run_that_would_train_nothing(run: Path) -> None:
    config, model, _, _ = build.load_parts(run)
    config = recipe.override(config, {"optim.freeze": "video,text"})
    objective = Contrastive(model.requires_grad_(False))
    with pytest.raises(ConfigError, match=r"optim\.freeze = video,text leaves nothing to train\n  hint: freeze less"):
        make_optimizer(config, objective, 8)
