"""Which device computes, and how precisely."""

from __future__ import annotations

import pytest
import torch

from vtr import compute
from vtr.errors import ConfigError, InputError


def test_devices() -> None:
    assert compute.device("cpu") == torch.device("cpu")
    assert compute.device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    for name in ("cuda:77", "gpu", "meta", ""):
        with pytest.raises(InputError, match=rf"device '{name}' cannot be used: .*\n.*--device auto"):
            compute.device(name)


def test_precisions() -> None:
    cpu = torch.device("cpu")
    assert compute.precision("auto", cpu) in ("bf16", "fp32")
    assert compute.precision("bf16", cpu) == "bf16"
    with pytest.raises(ConfigError, match=r"fp16 needs a GPU\n.*--precision auto"):
        compute.precision("fp16", cpu)
    with pytest.raises(ConfigError, match=r"precision 'fp64' is unknown\n.*auto, fp32, bf16, fp16"):
        compute.precision("fp64", cpu)


def test_there_is_memory() -> None:
    assert compute.memory_bytes(torch.device("cpu")) > 2**28
