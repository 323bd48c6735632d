"""Nothing let in, of runs: a directory of another's that training goes on in, and weights that it begins with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from door_helpers import CODE, HTML, forged, payloads, pickled, tried

from vtr import api, build, initial, recipe
from vtr.config import Config
from vtr.errors import RunError, VtrError
from vtr.rundir import WRITTEN


@pytest.fixture
def begun(run: Path, tmp_path: Path) -> Path:
    """A run that has a step left: what goes on in it reads all of it, and writes."""
    out = shutil.copytree(run, tmp_path / "run", symlinks=True)
    last = sorted((out / "checkpoints").iterdir())[-1]
    shutil.rmtree(last)
    return out


def goes_on(nano: Path, shards: Path, out: Path) -> bool:
    """Whether the run in `out` came to its end; if not, it was refused in words."""
    return tried(lambda: api.pretrain(str(nano), shards, out))


@pytest.mark.parametrize("names", [["run.json"], ["config.toml"], ["reading.json", *WRITTEN]])
def test_bytes_in_the_files_of_a_run(
    mark: Path, outside: Path, names: list[str], run: Path, nano: Path, shards: Path
) -> None:
    """Of a run that is whole, so that nothing but its files is read."""
    out = shutil.copytree(run, mark.parent / "run")
    for payload in payloads(mark).values():
        for name in names:
            (out / name).write_bytes(payload)
        assert goes_on(nano, shards, out) == (len(names) > 1)


def test_links_in_a_run(mark: Path, outside: Path, begun: Path, nano: Path, shards: Path, tmp_path: Path) -> None:
    """None is written through: what training appends to is refused, what it replaces is replaced."""
    for name in WRITTEN:
        kept = (begun / name).read_bytes() if (begun / name).exists() else None
        (begun / name).unlink(missing_ok=True)
        for target in ("notes.txt", "not there yet"):
            (begun / name).symlink_to(outside / target)
            with pytest.raises(RunError, match=f"{name} is no regular file"):
                api.pretrain(str(nano), shards, begun)
            (begun / name).unlink()
        if kept is not None:
            (begun / name).write_bytes(kept)
    for name in ("reading.json", "run.json", "config.toml"):
        if (begun / name).exists():
            shutil.copy(begun / name, tmp_path / name)
            (begun / name).unlink()
            (begun / name).symlink_to(tmp_path / name)
    (begun / "checkpoints" / "step-00000006").symlink_to(outside)
    (begun / "best").symlink_to(outside)
    (tmp_path / ".run.lock").symlink_to(outside / "made")
    with pytest.raises(VtrError, match="is a link, a lock is a file"):
        api.pretrain(str(nano), shards, begun)
    (tmp_path / ".run.lock").unlink()
    assert goes_on(nano, shards, begun)
    assert not (begun / "reading.json").is_symlink()
    assert not (begun / "checkpoints" / "step-00000006").is_symlink()


def test_files_that_a_run_begun_anew_removes(outside: Path, begun: Path, nano: Path, shards: Path) -> None:
    """Links go, not what they lead to."""
    shutil.rmtree(begun / "checkpoints")
    for name in ("checkpoints", "trackers", "wandb", "best"):
        (begun / name).symlink_to(outside)
    config = recipe.override(recipe.load(str(nano)), {"train.steps": 1})
    api.pretrain(config, shards, begun, fresh=True)
    assert not any(path.is_symlink() for path in begun.iterdir())


@pytest.mark.parametrize("value", [HTML, "../../../outside", "/etc/passwd", "__import__('os').system('true')", 5, None])
def test_words_in_the_record_of_a_run(
    mark: Path, outside: Path, value: object, run: Path, nano: Path, shards: Path, tmp_path: Path
) -> None:
    out = shutil.copytree(run, tmp_path / "run")
    whole = json.loads((out / "run.json").read_text())
    for name in whole:
        (out / "run.json").write_text(json.dumps(whole | {name: value}))
        assert not goes_on(nano, shards, out)
    (out / "run.json").write_text(json.dumps(whole))
    best = {"metric": "t2v R@1", "step": value, "value": value, "scored_on": value}
    (out / "best.json").write_text(json.dumps(best))
    (out / "quarantine.jsonl").write_text(json.dumps({"key": value, "shards": value}) + "\n")
    (out / "metrics.jsonl").write_text(json.dumps({"step": 6, "scored_on": value, "loss": value}) + "\n")
    config = recipe.override(recipe.load(str(nano)), {"train.best": "t2v R@1"})
    tried(lambda: api.pretrain(config, shards, out, eval_shards=shards))


@pytest.fixture(scope="module")
def starts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Tiny models as save_pretrained leaves them, by their kind."""
    from transformers import (
        CLIPConfig,
        CLIPModel,
        CLIPTextConfig,
        CLIPVisionConfig,
        VideoMAEConfig,
        VideoMAEForPreTraining,
    )

    small = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    text = CLIPTextConfig(**small, vocab_size=200, max_position_embeddings=24, projection_dim=16)
    vision = CLIPVisionConfig(**small, image_size=32, patch_size=8, projection_dim=16)
    decoder = {"decoder_num_hidden_layers": 1, "decoder_hidden_size": 32, "decoder_num_attention_heads": 2}
    video = VideoMAEConfig(**small, **decoder, decoder_intermediate_size=64, image_size=32, patch_size=8, num_frames=4)
    whole = CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=16)
    folder = tmp_path_factory.mktemp("starts")
    CLIPModel(whole).save_pretrained(folder / "clip")
    VideoMAEForPreTraining(video).save_pretrained(folder / "videomae")
    return {"clip": folder / "clip", "videomae": folder / "videomae"}


def start(kind: str, folder: Path, nano: Path) -> Config:
    """A recipe that fits the start of that kind."""
    base = recipe.override(recipe.load(str(nano)), {"train.steps": 1})
    if kind == "videomae":
        base = recipe.override(
            recipe.load("simvtp-tiny"), {"train.steps": 1, "data.decoder": "pyav", "data.workers": 0}
        )
    return initial.initial(base, str(folder)).config


@pytest.mark.parametrize("kind", ["clip", "videomae"])
@pytest.mark.parametrize("weights", ["zip", "legacy", "code"])
def test_what_training_begins_with(
    mark: Path, kind: str, weights: str, starts: dict[str, Path], nano: Path, shards: Path, tmp_path: Path
) -> None:
    """Weights of CLIP and VideoMAE that are pickles, and code beside them that their configuration names."""
    folder = shutil.copytree(starts[kind], tmp_path / "m")
    if weights == "code":
        (folder / "evil.py").write_text(CODE.format(str(mark)))
        told = json.loads((folder / "config.json").read_text())
        told["auto_map"] = dict.fromkeys(("AutoConfig", "AutoModel", "AutoTokenizer"), "evil.Evil")
        (folder / "config.json").write_text(json.dumps(told | {"trust_remote_code": True}))
        (folder / "tokenizer_config.json").write_text(json.dumps({"auto_map": told["auto_map"]}))
    else:
        (folder / "model.safetensors").unlink()
        (folder / "pytorch_model.bin").write_bytes(pickled(mark, weights))
    with pytest.raises(VtrError):  # the code: CLIP's tokenizer is not there, VideoMAE's weights are too small
        api.pretrain(start(kind, folder, nano), shards, tmp_path / "out", init_from=str(folder))


def test_names_of_files_in_an_index_of_weights(
    mark: Path, outside: Path, starts: dict[str, Path], nano: Path, shards: Path, tmp_path: Path
) -> None:
    """Large models name the files of their weights: none outside is opened as weights, a pickle among them neither."""
    folder = shutil.copytree(starts["clip"], tmp_path / "m")
    (folder / "model.safetensors").unlink()
    (outside.parent / "trap.bin").write_bytes(pickled(mark, "zip"))
    for index in ("model.safetensors.index.json", "pytorch_model.bin.index.json"):
        for name in ("../trap.bin", str(outside / "notes.txt"), f"pipe:touch {mark}"):
            (folder / index).write_text(json.dumps({"metadata": {}, "weight_map": {"logit_scale": name}}))
            with pytest.raises(VtrError):
                api.pretrain(start("clip", folder, nano), shards, tmp_path / "out", init_from=str(folder))
        (folder / index).unlink()


def test_the_lists_of_a_checkpoint(mark: Path, outside: Path, begun: Path) -> None:
    """Pages and pickles in the place of its JSON, hashed as if they belonged there."""
    last = sorted((begun / "checkpoints").iterdir())[-1]
    files = [path for path in last.rglob("*.json") if path.name != "sha256.json"]
    assert len(files) > 1
    for path in files:
        kept = path.read_bytes()
        for payload in payloads(mark).values():
            forged(last, str(path.relative_to(last)), payload)
            tried(lambda: build.load_parts(last))
        forged(last, str(path.relative_to(last)), kept)
