"""What cannot go is told before anything is loaded; what may not fit is warned of, and what to do about it holds."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch

from vtr import api, readiness, recipe
from vtr.data.index import ShardIndex
from vtr.errors import ConfigError, WorkError

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
    one = readiness.footprint(config, CPU, "fp32")
    monkeypatch.setattr(readiness, "memory_bytes", lambda where: int((one.fixed + 10 * one.a_sample) / 0.85) + 1)
    assert "with 8 clips at a time" in readiness.fits(config, 8, CPU, "fp32")
    with pytest.raises(WorkError, match=r"may not suffice: .* of .* GB that are free\n.*--accumulate 4 or more"):
        readiness.fits(config, 40, CPU, "fp32")
    split = recipe.override(config, {"train.accumulate": 4})
    assert "with 10 clips at a time" in readiness.fits(split, 40, CPU, "fp32")
    with pytest.raises(WorkError, match="may not suffice"):
        readiness.fits(config, 8, CPU, "fp32", beside=2)
    monkeypatch.setattr(readiness, "memory_bytes", lambda where: one.fixed)
    with pytest.raises(WorkError, match="a smaller model, or more memory"):
        readiness.fits(config, 8, CPU, "fp32")


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
    assert found[0]["hint"] == "choose a multiple with --batch-size"
