"""What accelerate's environment asks for: followed where vtr spreads a model, and refused where it does not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from torch import nn

from vtr import api, recipe
from vtr.config import Config
from vtr.errors import ConfigError
from vtr.training.processes import accelerated
from vtr.training.spread import SWITCH, asked, spread_state, whole, whole_state

ON = {SWITCH: "true", "FSDP_VERSION": "2"}


def test_nothing_is_asked_for() -> None:
    assert asked({}, Config(), "fp32") is None
    assert asked({SWITCH: "false"}, Config(), "fp32") is None


def test_how_to_spread() -> None:
    usual = asked(ON, Config(), "bf16")
    assert (usual.gather_again, usual.checkpointing) == (True, False)
    other = asked(
        ON | {"FSDP_RESHARD_AFTER_FORWARD": "false", "FSDP_ACTIVATION_CHECKPOINTING": "true"}, Config(), "fp32"
    )
    assert (other.gather_again, other.checkpointing) == (False, True)


@pytest.mark.parametrize(
    ("environment", "settings", "precision", "said"),
    [
        ({"ACCELERATE_USE_DEEPSPEED": "true"}, {}, "fp32", r"set to DeepSpeed, whose engine .*\n.*fsdp_version: 2"),
        ({SWITCH: "true"}, {}, "fp32", r"set to FSDP version 1, vtr takes the second\n.*fsdp_version: 2"),
        (ON | {"FSDP_OFFLOAD_PARAMS": "true"}, {}, "fp32", r"fsdp_offload_params: true does not go .*\n.*MULTI_GPU"),
        (ON, {"train.ema": 0.9}, "fp32", r"train.ema does not go together"),
        (ON, {"train.compile": True, "data.fixed_length": True}, "fp32", r"train.compile does not go together"),
        (ON, {}, "fp16", r"train.precision = 'fp16' does not go together"),
    ],
)
def test_what_is_refused(environment: dict[str, str], settings: dict, precision: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        asked(environment, recipe.override(Config(), settings), precision)


def test_a_run_asks(nano: Path, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    with pytest.raises(ConfigError, match="accelerate is set to DeepSpeed"):
        api.pretrain(str(nano), shards, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_accelerate_is_not_told_and_the_environment_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, "true")
    with accelerated(torch.device("cpu"), "fp32") as accelerator:
        assert accelerator.state.distributed_type == "NO"
        assert SWITCH not in os.environ
    assert os.environ[SWITCH] == "true"


def test_states_of_whole_weights_are_left_as_they_are() -> None:
    model = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    state = whole_state(optimizer, keep=True)
    assert torch.equal(state["state"][0]["exp_avg"], optimizer.state_dict()["state"][0]["exp_avg"])
    assert spread_state(optimizer, state) is state
    assert whole_state(optimizer, keep=False)["state"] == {}
    assert whole(model.weight) is model.weight
