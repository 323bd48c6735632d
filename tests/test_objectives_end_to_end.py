"""SimVTP and MILES through the whole path: trained, stopped, resumed, evaluated, fine-tuned."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from vtr import api, build, checkpoint, recipe, runfiles
from vtr.errors import ConfigError, RunError
from vtr.models.joint import UnifiedEncoder
from vtr.models.twin import TwinEncoder

MILES = {
    "objective.name": "miles", "objective.mask": "block", "objective.mask_ratio": 0.38,
    "objective.predict_head": "linear",
}  # fmt: skip
SIMVTP = {
    "objective.name": "simvtp", "objective.mask": "tube", "objective.mask_ratio": 0.75, "objective.word_ratio": 0.5,
    "objective.decoder_width": 8, "objective.decoder_depth": 1, "objective.decoder_heads": 2,
    "model.kind": "unified", "model.embed_dim": 32,
}  # fmt: skip
TWIN = {"objective.name": "contrastive", "model.kind": "twin", "model.drop_path": 0.1}
TERMS = {
    "miles": {"contrastive", "masked_features"},
    "simvtp": {"contrastive", "pixels", "words", "matching"},
}


def config_of(nano: Path, name: str, **more: object) -> recipe.Config:
    config = recipe.override(recipe.load(str(nano)), {"miles": MILES, "simvtp": SIMVTP}[name] | more)
    if name == "simvtp":
        config = recipe.from_dict(recipe.to_dict(config) | {"finetune": TWIN | {"train.epochs": 1.0}})
    return config


def metrics(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module", params=["miles", "simvtp"])
def trained(request: pytest.FixtureRequest, nano: Path, shards: Path, tmp_path_factory: pytest.TempPathFactory):
    """A run of 6 steps, two passes over the data, with checkpoints at 2, 4 and 6."""
    out = tmp_path_factory.mktemp("runs") / request.param
    config = config_of(nano, request.param, **{"train.keep": 3})
    api.pretrain(config, shards, out)
    return request.param, config, out


def test_its_terms_are_told_and_evaluation_works(trained, test_shards: Path) -> None:
    name, _, out = trained
    rows = [row for row in metrics(out) if "loss" in row]
    assert len(rows) == 6
    assert all(TERMS[name] <= row.keys() for row in rows)
    for row in rows:
        assert row["loss"] == pytest.approx(sum(row[term] for term in TERMS[name]), rel=1e-4)
    result = api.evaluate(out, test_shards, device="cpu", precision="fp32")
    assert result is not None


def test_what_training_alone_needs_is_kept_apart(trained) -> None:
    name, _, out = trained
    extras = load_file(checkpoint.newest(out) / runfiles.EXTRAS)
    model = load_file(checkpoint.newest(out) / checkpoint.WEIGHTS)
    first = {key.split(".")[0] for key in extras}
    assert first == (
        {"snapshot", "mask_token", "head", "_extra_state"}
        if name == "miles"
        else {"decoder", "word_head", "match_head"}
    )
    assert not any(key.startswith(("snapshot", "decoder", "word_head", "match_head")) for key in model)


def test_a_resumed_run_ends_as_one_that_never_stopped(trained, nano: Path, shards: Path, tmp_path: Path) -> None:
    import shutil

    _, config, whole = trained
    out = tmp_path / "again"
    shutil.copytree(whole, out)
    for step in checkpoint.steps(out)[1:]:
        shutil.rmtree(step)
    api.pretrain(config, shards, out)
    for file in (checkpoint.WEIGHTS, runfiles.EXTRAS):
        a, b = load_file(checkpoint.newest(whole) / file), load_file(checkpoint.newest(out) / file)
        assert a.keys() == b.keys()
        assert all(torch.equal(a[key], b[key]) for key in a), file


def test_a_checkpoint_that_has_lost_its_extras_is_not_gone_on_from(trained, shards: Path, tmp_path: Path) -> None:
    import shutil

    _, config, whole = trained
    out = tmp_path / "torn"
    shutil.copytree(whole, out)
    for step in checkpoint.steps(out)[1:]:
        shutil.rmtree(step)
    (left,) = checkpoint.steps(out)
    hashes = json.loads((left / checkpoint.HASHES).read_text())
    (left / checkpoint.HASHES).write_text(json.dumps({k: v for k, v in hashes.items() if k != runfiles.EXTRAS}))
    (left / runfiles.EXTRAS).unlink()
    with pytest.raises(RunError, match="cannot be gone on from"):
        api.pretrain(config, shards, out)


def test_the_snapshot_is_the_student_at_the_end_of_each_pass(nano: Path, shards: Path, tmp_path: Path) -> None:
    """Three steps are a pass over the data: it moves at 3 and 6, and at no other."""
    out = tmp_path / "run"
    api.pretrain(config_of(nano, "miles", **{"train.save_every": 1, "train.keep": 9}), shards, out)
    video = "video.patch_embed.weight"
    students = [load_file(step / checkpoint.WEIGHTS)[video] for step in checkpoint.steps(out)]
    snapshots = [load_file(step / runfiles.EXTRAS)[f"snapshot.{video}"] for step in checkpoint.steps(out)]
    assert len(students) == 6
    assert torch.equal(snapshots[0], snapshots[1])
    assert torch.equal(snapshots[2], students[2])
    assert torch.equal(snapshots[3], students[2])
    assert torch.equal(snapshots[4], students[2])
    assert torch.equal(snapshots[5], students[5])
    predicted = [row["masked_features"] for row in metrics(out) if "loss" in row]
    assert [value == 0 for value in predicted] == [True] * 3 + [False] * 3, "not before its first turn"


def test_fine_tuning_makes_twins_of_simvtp(trained, shards: Path, test_shards: Path, tmp_path: Path) -> None:
    name, _, source = trained
    out = tmp_path / "tuned"
    api.finetune(source, shards, out)
    model = build.load_parts(out)[1]
    api.evaluate(out, test_shards, device="cpu", precision="fp32")
    if name == "miles":
        assert not isinstance(model, TwinEncoder)
        return
    assert isinstance(model, TwinEncoder)
    assert not torch.equal(model.video.blocks[0].mlp.fc1.weight, model.text.blocks[0].mlp.fc1.weight), "they part"
    unified = build.load_parts(source)[1]
    assert isinstance(unified, UnifiedEncoder)
    assert torch.allclose(model.video.patch_embed.weight, unified.patch_embed.weight, atol=0.05)
    with pytest.raises(ConfigError, match=r"fine-tuning keeps the model of .*model\.kind: 'twin' -> 'unified'"):
        api.finetune(out, shards, tmp_path / "back", overrides={"model.kind": "unified"})


def test_simvtp_trains_on_longer_clips(trained, shards: Path, tmp_path: Path) -> None:
    name, config, source = trained
    more = recipe.override(config, {"data.frames": 8, "train.steps": 1})
    api.pretrain(more, shards, tmp_path / "more", init_from=str(source))
    model = build.load_parts(tmp_path / "more")[1]
    assert (model if name == "simvtp" else model.video).slots == 4
