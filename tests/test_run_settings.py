"""Settings of a run that change how it trains, not what: averages, memory, trackers, compiling."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from vtr import api, checkpoint, recipe
from vtr.api.runs import SCORED
from vtr.config import Config
from vtr.data.index import ShardIndex
from vtr.errors import ConfigError, RunError


def config_of(nano: Path, **changes: object) -> Config:
    return recipe.override(recipe.load(str(nano)), {key.replace("__", "."): value for key, value in changes.items()})


def losses(run: Path) -> list[float]:
    return [row["loss"] for row in map(json.loads, (run / "metrics.jsonl").read_text().splitlines()) if "loss" in row]


def test_an_average_of_the_weights_is_what_a_run_offers(nano: Path, shards: Path, run: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    given = {"train__ema": 0.75, "train__save_every": 1, "train__keep": 9}
    api.pretrain(config_of(nano, **given), shards, out)
    assert losses(out) == losses(run), "training itself does not see the average"
    mean: dict[str, torch.Tensor] = {}
    for path in checkpoint.steps(out):
        trained = load_file(path / "trained.safetensors")
        mean = {n: 0.75 * mean[n] + 0.25 * value if mean else value for n, value in trained.items()}
        found = load_file(path / "model.safetensors")
        for name, value in mean.items():
            torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-6)
    # A run that goes on from the middle ends with the same two sets of weights, byte for byte.
    cut = shutil.copytree(out, tmp_path / "cut")
    for path in checkpoint.steps(cut)[3:]:
        shutil.rmtree(path)
    api.pretrain(config_of(nano, **given), shards, cut)
    for name in ("model.safetensors", "trained.safetensors", "state/optimizer.pt"):
        assert (checkpoint.newest(cut) / name).read_bytes() == (checkpoint.newest(out) / name).read_bytes()


def test_a_run_without_the_weights_that_it_trains(nano: Path, shards: Path, run: Path, tmp_path: Path) -> None:
    out = shutil.copytree(run, tmp_path / "run")
    config = config_of(nano, train__ema=0.5)
    (out / "config.toml").write_text(recipe.to_toml(config))
    with pytest.raises(RunError, match=r"cannot be gone on from: .*trained\.safetensors"):
        api.pretrain(config, shards, out)


@pytest.mark.parametrize("change", [{"train__checkpointing": True}, {"train__accumulate": 4}])
def test_less_memory_for_the_same_training(nano: Path, shards: Path, run: Path, tmp_path: Path, change: dict) -> None:
    api.pretrain(config_of(nano, **change), shards, tmp_path / "run")
    assert losses(tmp_path / "run") == pytest.approx(losses(run), rel=1e-4)


def test_the_sigmoid_loss_trains_and_goes_on(nano: Path, shards: Path, tmp_path: Path) -> None:
    given = {"objective__loss": "sigmoid", "model__learn_temperature": True}
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    api.pretrain(config_of(nano, **given), shards, whole)
    shutil.copytree(whole, cut)
    shutil.rmtree(checkpoint.steps(cut)[-1])
    api.pretrain(config_of(nano, **given), shards, cut)
    for name in ("model.safetensors", "objective.safetensors"):
        assert (checkpoint.newest(cut) / name).read_bytes() == (checkpoint.newest(whole) / name).read_bytes()
    assert load_file(checkpoint.newest(cut) / "objective.safetensors")["align.bias"] != -10.0


def test_a_tracker_gets_the_figures(nano: Path, shards: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="the extra tensorboard is not installed")
    api.pretrain(config_of(nano, train__tracker="tensorboard"), shards, tmp_path / "run")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (folder,) = {path.parent for path in (tmp_path / "run/trackers").rglob("*tfevents*")
                 if EventAccumulator(str(path.parent)).Reload().Tags()["scalars"]}  # fmt: skip
    events = EventAccumulator(str(folder)).Reload()
    assert [e.value for e in events.Scalars("loss")] == pytest.approx(losses(tmp_path / "run"))
    assert {
        "gradient_norm",
        "temperature",
        "video_spread",
        "text_spread",
        "tokens_per_s",
        "data_wait",
        "memory_gb",
    } <= {*events.Tags()["scalars"]}


@pytest.mark.slow
def test_wandb_needs_no_network(nano: Path, shards: Path, tmp_path: Path) -> None:
    pytest.importorskip("wandb", reason="the extra wandb is not installed")
    out = tmp_path / "run"
    command = ["pretrain", str(nano), "--shards", str(shards), "--out", str(out), "--set", "train.tracker=wandb"]
    done = subprocess.run(
        [sys.executable, "-m", "vtr", *command],
        env={**os.environ, "WANDB_MODE": "offline"}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{checkpoint.newest(out)}\n"
    (kept,) = out.glob("wandb/offline-run-*/*.wandb")
    found = kept.read_bytes()
    for name in (b"gradient_norm", b"samples_per_s", b"objective.mask_ratio"):
        assert name in found


def test_unknown_and_missing_trackers(nano: Path, shards: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"train.tracker = 'paper' is unknown\n.*tensorboard.*wandb"):
        api.pretrain(config_of(nano, train__tracker="paper"), shards, tmp_path / "run")
    with pytest.raises(ConfigError, match=r"train.tracker = 'dvclive' is not installed\n.*pip install dvclive"):
        api.pretrain(config_of(nano, train__tracker="dvclive"), shards, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("given", [{"train.best": "t2v R@1"}, {"train.eval_every": 2}])
def test_what_is_asked_of_evaluations_wants_something_to_evaluate(
    nano: Path, shards: Path, run: Path, tmp_path: Path, given: dict
) -> None:
    (name, value), out = *given.items(), tmp_path / "run"
    words = rf"{name} = {value!r} is of evaluations, .*\n.*give --eval-shards DIR, or leave it out"
    with pytest.raises(ConfigError, match=words):
        api.pretrain(str(nano), shards, out, overrides=given)
    with pytest.raises(ConfigError, match=words):
        api.finetune(run, shards, out, overrides=given)
    assert not out.exists()
    # A recipe may say so for those who evaluate.
    api.pretrain(recipe.override(recipe.load(str(nano)), {**given, "train.steps": 1}), shards, out)


def test_a_best_of_nothing_is_refused_before_the_first_step(
    nano: Path, shards: Path, run: Path, tmp_path: Path
) -> None:
    given, words = (
        {"train.best": "R@1"},
        r"train.best = 'R@1' is not scored\n.*choose one of: t2v R@1, t2v R@5, .*v2t MdR",
    )
    with pytest.raises(ConfigError, match=words):
        api.pretrain(str(nano), shards, tmp_path / "run", overrides=given, eval_shards=shards)
    with pytest.raises(ConfigError, match=words):
        api.finetune(run, shards, tmp_path / "run", overrides=given, eval_shards=shards)
    assert not (tmp_path / "run").exists()


def test_each_figure_that_may_be_named_is_scored(nano: Path, shards: Path, tmp_path: Path) -> None:
    given = {"train.best": "v2t MdR", "train.steps": 1}
    api.pretrain(str(nano), shards, tmp_path / "run", overrides=given, eval_shards=shards)
    scored = json.loads((tmp_path / "run/metrics.jsonl").read_text().splitlines()[-1])
    assert tuple(scored) == ("step", *SCORED, "scored_on")
    assert scored["scored_on"] == ShardIndex.open(shards).digest
    assert json.loads((tmp_path / "run/best.json").read_text())["value"] == scored["v2t MdR"]


def test_compiling_wants_captions_of_one_length(nano: Path) -> None:
    with pytest.raises(ConfigError, match=r"train.compile = true compiles anew .*\n.*data.fixed_length=true"):
        config_of(nano, train__compile=True)


@pytest.mark.slow
def test_compiled_towers_train_alike_and_compile_once(nano: Path, shards: Path, tmp_path: Path) -> None:
    fixed = {"data__fixed_length": True}
    api.pretrain(config_of(nano, **fixed), shards, tmp_path / "eager")
    torch._dynamo.reset()
    with torch._dynamo.config.patch(error_on_recompile=True):
        api.pretrain(config_of(nano, **fixed, train__compile=True), shards, tmp_path / "run", eval_shards=shards)
    assert torch._dynamo.utils.counters["frames"]["ok"] > 0
    assert losses(tmp_path / "run") == pytest.approx(losses(tmp_path / "eager"), rel=1e-3)
