"""What accelerate's environment asks for: followed where vtr spreads a model, and refused where it does not."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from torch import nn

from vtr import api, recipe
from vtr.config import Config
from vtr.errors import ConfigError
from vtr.training.processes import accelerated
from vtr.training.spread import DEEPSPEED, FSDP, asked, spread_state, whole, whole_state

ON = {FSDP: "true", "FSDP_VERSION": "2"}
ZERO = {DEEPSPEED: "true"}
STAGE, FILE = "ACCELERATE_DEEPSPEED_ZERO_STAGE", "ACCELERATE_DEEPSPEED_CONFIG_FILE"


def test_nothing_is_asked_for() -> None:
    assert asked({}, Config(), "fp32") is None
    assert asked({FSDP: "false", DEEPSPEED: "false"}, Config(), "fp32") is None


def test_how_to_spread() -> None:
    usual = asked(ON, Config(), "bf16")
    assert (usual.gather_again, usual.checkpointing) == (True, False)
    other = asked(
        ON | {"FSDP_RESHARD_AFTER_FORWARD": "false", "FSDP_ACTIVATION_CHECKPOINTING": "true"}, Config(), "fp32"
    )
    assert (other.gather_again, other.checkpointing) == (False, True)


@pytest.mark.parametrize(("stage", "again"), [("1", False), ("2", False), ("3", True)])
def test_the_stages_of_zero(stage: str, again: bool, tmp_path: Path) -> None:
    file = tmp_path / "zero.json"
    file.write_text(json.dumps({"zero_optimization": {"stage": int(stage), "offload_param": {"device": "none"}}}))
    for said in ({STAGE: stage}, {FILE: str(file)}):  # in accelerate's own file, and in DeepSpeed's, that it names
        found = asked(ZERO | said, Config(), "bf16")
        assert (found.gather_again, found.name) == (again, f"ZeRO-{stage}, by torch's FSDP")


def test_where_zero_spreads_nothing(tmp_path: Path) -> None:
    file = tmp_path / "zero.json"
    file.write_text('{"train_batch_size": "auto"}')
    assert asked(ZERO | {STAGE: "0"}, Config(), "fp32") is None
    assert asked(ZERO | {FILE: str(file)}, Config(), "fp32") is None
    assert asked(ZERO, Config(), "fp32").name.startswith("ZeRO-2"), "as accelerate has it where nothing is said"
    file.write_text('{"zero_optimization": {"stage": 3, "offload_optimizer": {"device": "nvme"}}}')
    with pytest.raises(ConfigError, match="offload_optimizer: nvme does not go together"):
        asked(ZERO | {FILE: str(file)}, Config(), "fp32")


@pytest.mark.parametrize(
    ("environment", "settings", "precision", "said"),
    [
        (
            ZERO | {"ACCELERATE_DEEPSPEED_OFFLOAD_PARAM_DEVICE": "cpu"}, {}, "fp32",
            r"offload_param: cpu does not go .* \(ZeRO-2, by torch's FSDP\)\n.*MULTI_GPU",
        ),
        (ZERO | {STAGE: "3"}, {"train.ema": 0.9}, "fp32", r"train.ema does not .* \(ZeRO-3, by torch's FSDP\)"),
        (ZERO | {STAGE: "4"}, {}, "fp32", r"ZeRO has no stage '4'\n.*zero_stage: 3"),
        (ZERO | {FILE: "/none.json"}, {}, "fp32", r"deepspeed_config_file /none.json cannot be read: .*\n.*JSON file"),
        ({FSDP: "true"}, {}, "fp32", r"set to FSDP version 1, vtr takes the second\n.*fsdp_version: 2"),
        (ON | {"FSDP_OFFLOAD_PARAMS": "true"}, {}, "fp32", r"fsdp_offload_params: true does not go .*\n.*MULTI_GPU"),
        (ON, {"train.ema": 0.9}, "fp32", r"train.ema does not go together"),
        (ON, {"train.compile": True, "data.fixed_length": True}, "fp32", r"train.compile does not go together"),
        (ON, {}, "fp16", r"train.precision = 'fp16' does not go together"),
    ],
)  # fmt: skip
def test_what_is_refused(environment: dict[str, str], settings: dict, precision: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        asked(environment, recipe.override(Config(), settings), precision)


def test_a_run_asks(nano: Path, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FSDP, "true")
    with pytest.raises(ConfigError, match="accelerate is set to FSDP version 1"):
        api.pretrain(str(nano), shards, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("switch", [FSDP, DEEPSPEED])
def test_accelerate_is_not_told_and_the_environment_stays(switch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(switch, "true")
    with accelerated(torch.device("cpu"), "fp32") as accelerator:
        assert accelerator.state.distributed_type == "NO"
        assert switch not in os.environ
    assert os.environ[switch] == "true"


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
