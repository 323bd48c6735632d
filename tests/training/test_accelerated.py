"""What `accelerate launch` and its files say that is not Accelerate's to do: it does not hear it, or it is refused."""

from __future__ import annotations

import os

import pytest
import torch

from vtr.errors import ConfigError
from vtr.training.processes import accelerated

CPU = torch.device("cpu")


@pytest.mark.parametrize("steps", ["4", "auto"])
def test_pieces_of_accelerate_divide_no_gradient(monkeypatch: pytest.MonkeyPatch, steps: str) -> None:
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", steps)
    weight = torch.ones((), requires_grad=True)
    with accelerated(CPU, "fp32") as accelerator:
        accelerator.backward(3 * weight)
    assert weight.grad == 3
    assert os.environ["ACCELERATE_GRADIENT_ACCUMULATION_STEPS"] == steps, "for who comes after"


@pytest.mark.parametrize("backend", ["EAGER", "INDUCTOR", "nonsense", "NO"])
def test_the_recipe_alone_says_what_is_compiled(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], backend: str
) -> None:
    monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", backend)
    monkeypatch.setenv("ACCELERATE_DYNAMO_USE_DYNAMIC", "true")
    model = torch.nn.Linear(2, 2)
    with accelerated(CPU, "fp32") as accelerator:
        assert accelerator.prepare(model) is model
    words = "is not followed: --set train.compile=true compiles the towers"
    told = f"warning: accelerate's dynamo_backend {backend} {words}\n"
    assert capsys.readouterr().err == ("" if backend == "NO" else told)
    assert os.environ["ACCELERATE_DYNAMO_BACKEND"] == backend


def test_a_precision_of_accelerate_s_is_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp8")
    with accelerated(CPU, "fp32") as accelerator:
        assert accelerator.mixed_precision == "no"


@pytest.mark.parametrize(
    ("name", "words"),
    [("MEGATRON_LM", "Megatron-LM"), ("PARALLELISM_CONFIG", "a parallelism_config")],
)
def test_what_there_is_not_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, words: str) -> None:
    monkeypatch.setenv(f"ACCELERATE_USE_{name}", "true")
    with (
        pytest.raises(ConfigError, match=rf"accelerate is set to {words}, which vtr's .*\n.*leave it out; FSDP"),
        accelerated(CPU, "fp32"),
    ):
        pass
