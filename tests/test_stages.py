"""A pretraining in stages: one frame, then four; each begins with the one before, and all go on where they stopped."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from vtr import api, build, recipe
from vtr.errors import ConfigError

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


@pytest.fixture(scope="module")
def staged(nano: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipes") / "staged.toml"
    path.write_text(nano.read_text() + STAGES)
    return path


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
