"""A Config becomes the objects it names, and a run directory becomes a model again."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch

from vtr import build, checkpoint, makers, recipe, runfiles
from vtr.config import HEEDED, Config, ObjectiveConfig
from vtr.data import tokenizer
from vtr.errors import RunError, WorkError
from vtr.objectives.contrastive import Contrastive
from vtr.objectives.mac import MAC

CAPTIONS = ["a red circle moves left", "two dogs run"]


@pytest.fixture(scope="module")
def words() -> tokenizer.CaptionTokenizer:
    return tokenizer.train(CAPTIONS, 24, 200)


def parameters(model: torch.nn.Module) -> float:
    return sum(p.numel() for p in model.parameters()) / 1e6


@pytest.mark.parametrize("name", recipe.recipe_names())
def test_every_shipped_recipe_builds(name: str, words, tmp_path: Path) -> None:
    """Weights of a hub are left out: shapes alone, on the meta device."""
    from transformers import DistilBertConfig

    config = recipe.load(name)
    DistilBertConfig().save_pretrained(tmp_path / runfiles.TEXT)  # as the hub's distilbert-base-uncased
    with torch.device("meta"):
        model = build.make_model(config, words, kept=tmp_path)
        objective = makers.make_objective(config, model, words)
        clips = torch.zeros(2, config.data.frames, 3, config.data.size, config.data.size, dtype=torch.uint8)
        assert model.encode_video(clips).shape == (2, config.model.embed_dim)
    assert type(objective).__name__.lower() == name.split("-", maxsplit=1)[0]
    if name == "mac-base":
        assert 170 < parameters(model) < 190, "ViT-B with time attention, and DistilBERT"
    shape = build.clip_shape(config)
    assert (shape.frames, shape.size) == (config.data.frames, config.data.size)
    makers.make_objective(recipe.override(config, {"objective.name": "contrastive"}), model, words)


def test_the_base_recipe_says_that_it_needs_the_hub(words) -> None:
    """The tests run with HF_HUB_OFFLINE=1."""
    config = recipe.load("mac-base")
    with pytest.raises(WorkError, match=r"tokenizer of 'distilbert-base-uncased' could not be loaded(?s:.*)model hub"):
        build.make_tokenizer(config, CAPTIONS)
    small = {"model.width": 64, "model.depth": 1, "model.heads": 2}
    with pytest.raises(WorkError, match=r"timm weights 'vit_base_patch16_224.augreg_in21k' could not(?s:.*)model hub"):
        build.make_model(recipe.override(config, small), words)
    with pytest.raises(WorkError, match=r"text model 'distilbert-base-uncased' could not be loaded(?s:.*)model hub"):
        build.make_model(recipe.override(config, {**small, "model.video": ""}), words)


def test_objectives_by_name(words, nano: Path) -> None:
    config = recipe.load(str(nano))
    model = build.make_model(config, words)
    mac = makers.make_objective(config, model, words)
    assert isinstance(mac, MAC)
    assert mac.mask_id == words.mask_id
    assert mac.visible == 8, "half of 4 x 4 cells"
    other = recipe.override(config, {"objective.name": "contrastive"})
    assert isinstance(makers.make_objective(other, model, words), Contrastive)


@pytest.mark.parametrize("name", HEEDED)
def test_what_an_objective_is_said_to_look_at(name: str, words, nano: Path) -> None:
    seen = set()

    class Watched(ObjectiveConfig):
        def __getattribute__(self, key: str) -> object:
            seen.add(key)
            return super().__getattribute__(key)

    kind = {"model.kind": "unified", "model.embed_dim": 32} if name == "simvtp" else {}
    config = recipe.override(recipe.load(str(nano)), {"objective.name": name, **kind})
    watched = Watched(**dataclasses.asdict(config.objective))
    seen.clear()
    makers.make_objective(dataclasses.replace(config, objective=watched), build.make_model(config, words), words)
    assert seen & {field.name for field in dataclasses.fields(ObjectiveConfig)} == {"name", *HEEDED[name]}


def write(folder: Path, config: Config, words, model=None) -> tuple[Path, torch.nn.Module]:
    model = model or build.make_model(config, words)
    path = checkpoint.save(folder, 1, lambda aside: runfiles.write_run(aside, config, model, words), 1)
    return path, model


def test_a_run_comes_back_as_it_was(tmp_path: Path, nano: Path, words) -> None:
    config = recipe.load(str(nano))
    path, model = write(tmp_path, config, words)
    files = {str(p.relative_to(path)) for p in path.rglob("*") if p.is_file()}
    assert files == {
        "config.toml", "model.safetensors", "sha256.json", "tokenizer/tokenizer.json",
        "tokenizer/tokenizer_config.json",
    }  # fmt: skip
    again, loaded, tokens, folder = build.load_parts(tmp_path)
    assert (again, folder) == (config, path)
    assert_same(model, words, loaded, tokens)
    whole = build.load_model(tmp_path, "cpu", "fp32")
    assert whole.weights_sha256 == checkpoint.sha256(path / checkpoint.WEIGHTS)
    assert whole.meta["model"] == str(tmp_path.resolve())
    assert whole.meta["frames"] == "4"


def test_a_run_stands_alone(tmp_path: Path, nano: Path, distilbert: Path, timm_vit: Path) -> None:
    """What it was made from may go: a directory, or the network."""
    hub = shutil.copytree(distilbert, tmp_path / "bert"), shutil.copytree(timm_vit, tmp_path / "vit")
    given = {"model.text": str(hub[0]), "model.video": f"local-dir:{hub[1]}", "model.tubelet": 1}
    config = recipe.override(recipe.load(str(nano)), given)
    words = build.make_tokenizer(config, [])
    path, model = write(tmp_path / "run", config, words)
    assert json.loads((path / runfiles.TEXT / "config.json").read_text())["model_type"] == "distilbert"
    for folder in hub:
        shutil.rmtree(folder)
    _, loaded, tokens, _ = build.load_parts(tmp_path / "run")
    assert_same(model, words, loaded, tokens)


def assert_same(model: torch.nn.Module, words, loaded: torch.nn.Module, tokens) -> None:
    both = zip(model.state_dict().values(), loaded.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in both)
    assert (tokens(CAPTIONS).ids == words(CAPTIONS).ids).all()


def rewrite(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_run_whose_parts_disagree(tmp_path: Path, nano: Path, words) -> None:
    path, _ = write(tmp_path, recipe.load(str(nano)), words)
    hashes = json.loads((path / checkpoint.HASHES).read_text())

    def spoil(old: str, new: str) -> None:  # with a hash that is right
        rewrite(path / checkpoint.CONFIG, old, new)
        put_right = hashes | {checkpoint.CONFIG: checkpoint.sha256(path / checkpoint.CONFIG)}
        (path / checkpoint.HASHES).write_text(json.dumps(put_right))

    spoil("embed_dim = 16", "embed_dim = 17")
    with pytest.raises(RunError, match=r"cannot be loaded: the weights .* vid_proj.weight is \(16, 32\), wanted") as e:
        build.load_parts(tmp_path)
    assert "\n" not in e.value.message
    spoil("embed_dim = 17", "embed_size = 16")
    with pytest.raises(RunError, match=r"cannot be loaded: there is no setting 'model.embed_size'") as e:
        build.load_parts(tmp_path)
    assert "\n" not in e.value.message
    (path / checkpoint.CONFIG).unlink()
    with pytest.raises(RunError, match=r"no checkpoint that is whole: .*config\.toml is missing"):
        build.load_parts(tmp_path)


@pytest.mark.parametrize(
    "huge",
    [
        {"depth": 5000},
        {"text_depth": 5000},
        {"width": 8192},
        {"text_width": 8192},
        {"lora_rank": 65_536},
    ],
)
def test_a_config_far_larger_than_its_weights_makes_no_model(
    huge: dict[str, int], words, tmp_path: Path, nano: Path
) -> None:
    config = recipe.load(str(nano))
    path, _ = write(tmp_path, config, words)
    large = dataclasses.replace(config, model=dataclasses.replace(config.model, **huge))
    (path / checkpoint.CONFIG).write_text(recipe.to_toml(large))
    hashes = json.loads((path / checkpoint.HASHES).read_text())
    hashes[checkpoint.CONFIG] = checkpoint.sha256(path / checkpoint.CONFIG)
    (path / checkpoint.HASHES).write_text(json.dumps(hashes))
    said = r"have \d+ numbers, and its config is of a model of \d+|depth = 5000, at most 1000 is usual"
    with pytest.raises(RunError, match=said):
        build.load_parts(tmp_path)
