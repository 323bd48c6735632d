"""A pretraining in stages: one frame, then four; each begins with the one before, and all go on where they stopped."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from vtr import api, build, checkpoint, makers, recipe, runfiles
from vtr.atomic import locked
from vtr.errors import BusyError, ConfigError, Interrupted, RunError
from vtr.initial import initial
from vtr.objectives.mac import MAC

STAGES = """
[[stages]]
"data.frames" = 2
"train.steps" = 2
"optim.lr" = 2e-3
[[stages]]
"data.frames" = 8
"train.steps" = 3
"objective.mask_ratio" = 0.75
"""


def test_stages_are_read_and_come_back(staged: Path, tmp_path: Path) -> None:
    config = recipe.load(str(staged))
    first, second = recipe.staged(config)
    assert (first.data.frames, first.train.steps, first.optim.lr, first.objective.mask_ratio) == (2, 2, 2e-3, 0.5)
    assert (second.data.frames, second.train.steps, second.optim.lr, second.objective.mask_ratio) == (8, 3, 1e-3, 0.75)
    assert first.stages == second.stages == ()
    assert first.finetune == config.finetune
    copy = tmp_path / "copy.toml"
    copy.write_text(recipe.to_toml(config))
    assert recipe.load(str(copy)) == config


def test_a_plain_recipe_is_its_only_stage(nano: Path) -> None:
    config = recipe.load(str(nano))
    assert recipe.staged(config) == [config]


def test_what_is_given_holds_in_all_stages(staged: Path) -> None:
    config = recipe.override(recipe.load(str(staged)), {"train.steps": 1, "optim.lr": 0.5})
    assert [(c.train.steps, c.optim.lr, c.data.frames) for c in recipe.staged(config)] == [(1, 0.5, 2), (1, 0.5, 8)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[stages]]\n"optim.lrr" = 1', r"no setting 'optim\.lrr'"),
        ('[[stages]]\n"data.frames" = 3', "clips of 3 frames"),
        ("stages = 4", "stages = 4 stands outside a section"),
        ("[stage]\na = 1", r"no section \[stage\]\n.*did you mean \[stages\]\?"),
    ],
)
def test_a_wrong_stage_shows_at_once(nano: Path, tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(text + "\n" + nano.read_text() if text.startswith("stages") else nano.read_text() + text)
    with pytest.raises(ConfigError, match=said):
        recipe.load(str(path))


TWICE = """
[[stages]]
"train.steps" = 3
"objective.snapshot_samples" = 48  # two batches of all that there is
[[stages]]
"train.steps" = 1
"optim.lr" = 1e-9  # at which nothing moves
"objective.snapshot_samples" = 80
"""
OBJECTIVES = {
    "miles": {
        "objective.mask": "block", "objective.mask_ratio": 0.38, "objective.predict_head": "linear",
        "objective.loss": "sigmoid", "objective.snapshot_wait": False, "train.batch_size": 512,
    },
    "simvtp": {
        "objective.mask": "tube", "objective.mask_ratio": 0.75, "objective.decoder_width": 8,
        "objective.decoder_depth": 1, "objective.decoder_heads": 2, "model.kind": "unified", "model.embed_dim": 32,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", ["miles", "simvtp"])
def test_what_is_trained_beside_the_model_comes_along(nano: Path, shards: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "staged.toml").write_text(nano.read_text() + TWICE)
    given = OBJECTIVES[name] | {"objective.name": name, "model.learn_temperature": True}
    config = recipe.override(recipe.load(str(tmp_path / "staged.toml")), given)
    last = api.pretrain(config, shards, tmp_path / "run")
    first = checkpoint.resolve(tmp_path / "run.stage-1")
    before, after = (load_file(folder / "objective.safetensors") for folder in (first, last))
    trained = [key for key in before if not key.startswith("snapshot.") and not key.endswith("_extra_state")]
    wanted = {"miles": {"mask_token", "head.weight", "align.bias"}, "simvtp": {"word_head.weight", "match_head.bias"}}
    assert wanted[name] <= set(trained)
    for key in trained:
        torch.testing.assert_close(after[key], before[key], rtol=0, atol=1e-6)
    models = [load_file(folder / "model.safetensors") for folder in (first, last)]
    at = [float(weights["log_temperature"].exp()) for weights in models]
    assert at[0] != pytest.approx(0.05, abs=1e-6), "it has learnt"
    assert at[1] == pytest.approx(at[0], abs=1e-6)
    if name == "miles":
        key = "video.patch_embed.weight"
        assert not torch.equal(before[f"snapshot.{key}"], models[0][key]), "it moved a step before the end"
        assert torch.equal(after[f"snapshot.{key}"], models[0][key]), "a new stage's is a copy of its start"
        assert (before["snapshot.moves"], after["snapshot.moves"]) == (1, 0)


def test_a_stage_may_set_a_temperature_or_parts_of_another_shape(nano: Path, shards: Path, tmp_path: Path) -> None:
    recipe_of = nano.read_text().replace("[objective]", "[objective]\ndecoder_width = 24")
    later = '"model.temperature" = 0.1\n"objective.decoder_width" = 12\n'
    (tmp_path / "staged.toml").write_text(recipe_of + TWICE + later)
    given = OBJECTIVES["simvtp"] | {"objective.name": "simvtp", "model.learn_temperature": True}
    del given["objective.decoder_width"]
    config = recipe.override(recipe.load(str(tmp_path / "staged.toml")), given)
    last = api.pretrain(config, shards, tmp_path / "run")
    assert float(load_file(last / "model.safetensors")["log_temperature"].exp()) == pytest.approx(0.1, abs=1e-6)
    first = load_file(checkpoint.resolve(tmp_path / "run.stage-1") / "objective.safetensors")
    second = load_file(last / "objective.safetensors")
    assert first["decoder.norm.weight"].shape != second["decoder.norm.weight"].shape == (12,)
    torch.testing.assert_close(first["word_head.weight"], second["word_head.weight"], rtol=0, atol=1e-6)


def test_a_signal_in_the_last_step_of_a_stage(staged: Path, shards: Path, tmp_path: Path) -> None:
    signals = [signal.SIGTERM]

    class Stopped(MAC):
        def after_step(self, step: int) -> None:
            if step == 2 and signals:
                os.kill(os.getpid(), signals.pop())

    def own(model, words):
        return Stopped(model, words.mask_id, 0.5, 0.0)

    out = tmp_path / "run"
    with pytest.raises(Interrupted, match=r"stopped at step 2 of 2, saved as .*run\.stage-1.*step-00000002"):
        api.pretrain(str(staged), shards, out, objective=own)
    assert not out.exists(), "the second stage has not begun"
    assert api.pretrain(str(staged), shards, out, objective=own).name == "step-00000003", "and now it does"


def test_a_stage_whose_predecessor_is_gone_is_not_begun_again(staged: Path, shards: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    last = api.pretrain(str(staged), shards, out)
    shutil.rmtree(tmp_path / "run.stage-1")
    for resume in (True, False):
        with pytest.raises(RunError, match=r"run is begun, but .*run\.stage-1, the stage before it, has no checkpoint"):
            api.pretrain(str(staged), shards, out, resume=resume)
    assert not (tmp_path / "run.stage-1").exists()
    assert checkpoint.newest(out) == last


def test_a_run_in_its_second_stage_keeps_its_first(staged: Path, shards: Path, tmp_path: Path) -> None:
    """Nobody else writes in any of its directories meanwhile, and who asks for --fresh is told so before it removes."""
    out, tried = tmp_path / "run", []

    class Watched(MAC):
        def after_step(self, step: int) -> None:
            for name in ("run", "run.stage-1") if step == 1 else ():
                with (
                    pytest.raises(BusyError, match=rf"{name} is being written by another process"),
                    locked(tmp_path / f".{name}.lock", name),
                ):
                    pass
                tried.append(name)

    api.pretrain(str(staged), shards, out, objective=lambda model, words: Watched(model, words.mask_id, 0.5, 0.0))
    assert tried == ["run", "run.stage-1"] * 2, "in both stages"

    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    with (
        locked(tmp_path / ".run.lock", "run"),
        pytest.raises(BusyError, match=r"run is being written by another process\n.*wait until it ends"),
    ):
        api.pretrain(str(staged), shards, out, overrides={"optim.lr": 0.01}, fresh=True)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


@pytest.mark.parametrize("fresh", [True, False])
def test_an_out_that_is_no_run_is_refused_before_the_first_stage(
    staged: Path, shards: Path, tmp_path: Path, fresh: bool
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match=r"run is there and is not a run\n.*another --out"):
        api.pretrain(str(staged), shards, tmp_path / "run", fresh=fresh)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_tower_that_was_asked_for_serves_all_stages(nano: Path, shards: Path, timm_vit: Path, tmp_path: Path) -> None:
    (tmp_path / "staged.toml").write_text(nano.read_text() + TWICE)
    tower = f"local-dir:{timm_vit}"
    given = {"model.video": tower, "model.tubelet": 1}
    last = api.pretrain(
        str(tmp_path / "staged.toml"), shards, tmp_path / "run", overrides=given, init_from=f"timm:{tower}"
    )
    assert last.name == "step-00000001"


def test_a_fixed_temperature_stays_over_stages(nano: Path, shards: Path, tmp_path: Path) -> None:
    config = recipe.override(recipe.load(str(nano)), {"train.steps": 2, "model.learn_temperature": True})
    api.pretrain(config, shards, tmp_path / "run")
    fixed = recipe.override(config, {"model.learn_temperature": False})
    for stage in (True, False):
        begun = initial(fixed, str(tmp_path / "run"), stage=stage).whole
        assert begun is not None
        assert (float(begun.model.temperature) != pytest.approx(0.05, abs=1e-6)) == stage


def test_a_damaged_file_of_the_stage_before(run: Path, tmp_path: Path) -> None:
    config, model, words, _ = build.load_parts(run)
    objective = makers.make_objective(recipe.override(config, {"objective.loss": "sigmoid"}), model, words)
    runfiles.carry_extras(tmp_path, objective)  # nothing was beside the model there
    (tmp_path / "objective.safetensors").write_bytes(b"no tensors")
    with pytest.raises(RunError, match=r"cannot be gone on from: .*\n  hint: start over with --fresh"):
        runfiles.carry_extras(tmp_path, objective)


def test_each_stage_begins_with_the_one_before(staged: Path, shards: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    last = api.pretrain(str(staged), shards, out)
    assert last == out / "checkpoints" / "step-00000003"
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["run", "run.stage-1"]
    first, second = build.load_parts(tmp_path / "run.stage-1"), build.load_parts(out)
    assert (first[0].data.frames, second[0].data.frames) == (2, 8)
    assert (first[1].video.slots, second[1].video.slots) == (1, 4)
    assert second[1].encode_video(torch.zeros(1, 8, 3, 32, 32, dtype=torch.uint8)).shape == (1, 16)
    # All that was learnt came along: three small steps lie between the two.
    a, b = first[1].state_dict(), second[1].state_dict()
    for name in ("video.patch_embed.weight", "text.model.embeddings.word_embeddings.weight"):
        assert torch.allclose(a[name], b[name], atol=0.02)
        assert not torch.equal(a[name], b[name])
    assert torch.allclose(a["video.temporal_embed"][0, 0], b["video.temporal_embed"][0, 0], atol=0.02)
    assert b["video.temporal_embed"][0, 1:].abs().max() < 0.02, "new positions in time begin at zero"

    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("model.safetensors")}
    assert api.pretrain(str(staged), shards, out) == last
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("model.safetensors")} == before, "done is done"
