"""What only a GPU can show: bf16, compiled towers, NCCL, fp16's scaler, pinned batches in a whole run."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch

from vtr import api, checkpoint, recipe
from vtr.bench import run as bench

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def train(nano: Path, shards: Path, out: Path, **changes: object) -> list[float]:
    """The losses of a run on the GPU."""
    given = {"train.device": "cuda"} | {key.replace("__", "."): value for key, value in changes.items()}
    api.pretrain(recipe.override(recipe.load(str(nano)), given), shards, out)
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if "loss" in line]


def test_a_gpu_trains_like_a_cpu(nano: Path, shards: Path, run: Path, tmp_path: Path) -> None:
    on_cpu = [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert train(nano, shards, tmp_path / "run") == pytest.approx(on_cpu, rel=1e-2)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_trains_and_goes_on(nano: Path, shards: Path, tmp_path: Path, precision: str) -> None:
    """fp16's scaler is part of the state: without it a run that goes on would scale anew."""
    out = tmp_path / "run"
    losses = train(nano, shards, out, train__precision=precision, data__workers=1)
    assert all(torch.isfinite(torch.tensor(losses)))
    trainer = json.loads((checkpoint.newest(out) / "state" / "trainer.json").read_text())
    assert ("scaler" in trainer) == (precision == "fp16")
    again = train(nano, shards, tmp_path / "whole", train__precision="fp32")
    assert losses == pytest.approx(again, rel=0.1)


def test_compiled_towers_train_alike(nano: Path, shards: Path, tmp_path: Path) -> None:
    fixed = {"data__fixed_length": True, "train__precision": "bf16"}
    eager = train(nano, shards, tmp_path / "eager", **fixed)
    assert train(nano, shards, tmp_path / "compiled", **fixed, train__compile=True) == pytest.approx(eager, rel=0.05)


def test_nccl_of_one_process(nano: Path, shards: Path, tmp_path: Path) -> None:
    """The collectives and the wrapper of many processes, on the only device that may be there."""
    alone = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29611"}
    out = tmp_path / "run"
    command = ["vtr", "pretrain", str(nano), "--shards", str(shards), "--out", str(out), "--device", "cuda"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=300, env={**os.environ, **alone}
    )
    assert done.returncode == 0, done.stderr
    assert checkpoint.newest(out) is not None


def test_a_step_on_the_gpu_is_measured() -> None:
    found = bench("step", repeats=1, small=True, ratios=(0.75,), precisions=("bf16",), device="cuda")
    mfu = found["ratios"]["step.mfu"]
    assert mfu is None or 0 < mfu < 1, found["figures"]["mfu"]
    assert found["figures"]["table"][0]["of_gemm"] > 0
