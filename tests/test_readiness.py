"""What cannot go is told before anything is loaded; what may not fit is warned of, and what to do about it holds."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
import torch

from vtr import api, readiness, recipe
from vtr.data.index import ShardIndex
from vtr.data.shares import check_batch
from vtr.errors import ConfigError, WorkError
from vtr.footprint import USABLE, Footprint

CPU = torch.device("cpu")


@pytest.fixture
def config(nano: Path):
    return recipe.load(str(nano))


def test_where_the_tokenizer_is(config, distilbert: Path, tmp_path: Path) -> None:
    assert readiness.has_tokenizer(config) == "to be made of the captions"
    there = recipe.override(config, {"model.text": str(distilbert)})
    assert readiness.has_tokenizer(there) == f"in the directory {distilbert}"
    with pytest.raises(WorkError, match=r"directory has none of tokenizer.json, .*\n.*made by save_pretrained"):
        readiness.has_tokenizer(recipe.override(config, {"model.text": str(tmp_path)}))
    begin = time.monotonic()
    with pytest.raises(WorkError, match=r"'nobody/nothing' could not be loaded: it is not in the cache, and .*\n.*hub"):
        readiness.has_tokenizer(recipe.override(config, {"model.text": "nobody/nothing"}))
    assert time.monotonic() - begin < 20


def test_a_tokenizer_in_the_hubs_cache_is_found(config, distilbert: Path, tmp_path: Path, monkeypatch) -> None:
    from huggingface_hub import constants

    folder = tmp_path / "models--some--bert"
    (folder / "snapshots/abc").mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs/main").write_text("abc")
    (folder / "snapshots/abc/tokenizer.json").write_bytes((distilbert / "tokenizer.json").read_bytes())
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    assert "of some/bert, in the model hub's cache" in readiness.has_tokenizer(
        recipe.override(config, {"model.text": "some/bert"})
    )


def test_what_does_not_fit_and_the_pieces_that_do(config, monkeypatch) -> None:
    def fits(samples: int, processes: int = 1, **settings) -> str:
        changed = recipe.override(config, {"train.batch_size": 96, **settings})
        return readiness.fits(changed, samples, processes, CPU, "fp32")

    one = readiness.footprint(config, CPU, "fp32")
    monkeypatch.setattr(readiness, "memory_bytes", lambda where: int((one.fixed + 10 * one.a_sample) / 0.85) + 1)
    assert "with 8 clips at a time" in fits(8)
    with pytest.raises(WorkError, match=r"may not suffice: .* GB that are free\n.*--accumulate 4, or --set train"):
        fits(40)
    assert "with 10 clips at a time" in fits(40, **{"train.accumulate": 4})
    with pytest.raises(WorkError, match="may not suffice"):
        fits(16, 2)
    sparing = r"(?s)(?!.*checkpointing).*\n.*give --accumulate \d+$"
    with pytest.raises(WorkError, match=sparing):
        fits(96, **{"train.checkpointing": True})
    monkeypatch.setattr(readiness, "memory_bytes", lambda where: one.fixed)
    with pytest.raises(WorkError, match="a smaller model, or more memory"):
        fits(8)


@pytest.mark.parametrize("samples", [61, 62, 512])
@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("how", ["exact", "plain"])
def test_what_is_advised_can_be_done(config, samples: int, processes: int, how: str) -> None:
    """Each way that is named divides what a step really has, and then fits."""
    config = recipe.override(config, {"train.batch_size": 512, "train.accumulate_how": how})
    share = samples // processes
    for most in (most for most in (2, 3, 7, 20, 40, 52) if most < share):
        one = Footprint(1000, 10, 1)
        memory = int((one.fixed + most * one.a_sample) / USABLE) + 1
        advice = one.advice(config, share, memory, 1, processes)
        ways = re.findall(r"(?:--batch-size (\d+) with )?--accumulate (\d+)", advice)
        assert ways
        for batch, pieces in ways:
            clips = int(batch) if batch else share * processes
            check_batch(clips, processes, int(pieces), how)
            assert clips // processes // int(pieces) <= most
            assert clips > 0.6 * share * processes, "most of the batch is kept"
        assert advice.endswith(", or --set train.checkpointing=true")


def test_a_run_warns_and_goes_on(nano: Path, shards: Path, tmp_path: Path, monkeypatch, capfd) -> None:
    monkeypatch.setattr(readiness, "memory_bytes", lambda where: 1_000_000)
    api.pretrain(recipe.override(recipe.load(str(nano)), {"train.steps": 1}), shards, tmp_path / "run")
    warnings = [line for line in capfd.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 1
    assert "memory may not suffice" in warnings[0]


def test_a_run_that_cannot_be_shared_out_leaves_nothing(nano: Path, shards: Path, tmp_path: Path) -> None:
    wrong = recipe.override(recipe.load(str(nano)), {"train.accumulate": 3})
    with pytest.raises(ConfigError, match="do not divide into 3 pieces"):
        api.pretrain(wrong, shards, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_every_stage_of_a_recipe_is_reported(shards: Path) -> None:
    found = readiness.report(recipe.load("mac-tiny"), ShardIndex.open(shards), 2, "cpu")
    assert [(one["check"], one["ok"]) for one in found] == [("feeds", True), ("tokenizer", True), ("fits", True)]
    found = readiness.report(recipe.load("mac-tiny"), ShardIndex.open(shards), 5, "cpu")
    assert not found[0]["ok"]
    assert found[0]["hint"] == "choose a multiple with --batch-size: 20, say"
