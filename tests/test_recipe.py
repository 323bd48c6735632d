"""Recipes: TOML in, a checked config out, and back."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path

import pytest

from vtr import recipe
from vtr.config import Config
from vtr.errors import ConfigError


@pytest.mark.parametrize("name", recipe.recipe_names())
def test_every_shipped_recipe_loads_and_comes_back(name: str, tmp_path: Path) -> None:
    config = recipe.load(name)
    copy = tmp_path / "copy.toml"
    copy.write_text(recipe.to_toml(config))
    assert recipe.load(str(copy)) == config
    assert recipe.difference(config, recipe.load(str(copy))) == []
    later = recipe.override(config, config.finetune)
    assert recipe.difference(config, later), "a recipe says how to fine-tune"


def test_there_are_recipes_to_start_with() -> None:
    assert {"mac-tiny", "mac-base"} <= set(recipe.recipe_names())


def test_nothing_given_is_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "empty.toml"
    path.write_text("[train]\n")
    assert recipe.load(str(path)) == Config()
    assert tomllib.loads(recipe.to_toml(Config())).keys() == recipe.SECTIONS.keys()


def write(folder: Path, text: str) -> str:
    path = folder / "r.toml"
    path.write_text(text, "utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[optim]\nlearning_rate = 1", r"no setting 'optim\.learning_rate'"),
        ("[data]\nframe = 4", r"no setting 'data\.frame'\n.*did you mean data\.frames\?"),
        ("[model]\nlr = 1e-4", r"no setting 'model\.lr'\n.*did you mean optim\.lr\?"),
        ("[optin]\nlr = 1", r"no section \[optin\]\n.*did you mean \[optim\]\?"),
        ("[optin]", r"no section \[optin\]"),
        ("frames = 4", "frames = 4 stands outside a section"),
        ("finetune = 4", "finetune = 4 stands outside a section"),
        ("[data]\nframes = '4'", r"data\.frames = '4' is of the wrong type\n.*a whole number"),
        ("[data]\nframes = 4.0", r"data\.frames = 4\.0 is of the wrong type"),
        ("[data]\nframes = true", r"data\.frames = True is of the wrong type"),
        ("[data]\nflip = 1", r"data\.flip = 1 is of the wrong type\n.*true or false"),
        ("[optim]\nlr = nan", r"optim\.lr = nan is of the wrong type\n.*a number"),
        ("[optim]\nlr = 1" + 400 * "0", "is of the wrong type"),
        ("[model]\ntext = 3", r"model\.text = 3 is of the wrong type\n.*text"),
        ("[objective]\nmask_ratio = 1.5", r"objective\.mask_ratio = 1\.5, it must be"),
        ('[finetune]\n"optim.lrr" = 1', r"no setting 'optim\.lrr'"),
        ("[finetune]\nlr = 1", r"no setting 'lr'\n.*did you mean optim\.lr\?"),
        ("[data", r"r\.toml is not TOML"),
    ],
)
def test_what_is_wrong_in_a_recipe_is_named(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        recipe.load(write(tmp_path, text))


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="is not TOML"):
        recipe.load(str(tmp_path / "r.toml"))


def test_an_unknown_recipe_names_the_known() -> None:
    with pytest.raises(ConfigError, match=r"no recipe 'mac-tinny'\n.*did you mean mac-tiny\? recipes are: .*mac-base"):
        recipe.load("mac-tinny")
    with pytest.raises(ConfigError, match=r"no recipe '/nowhere/x\.toml'"):
        recipe.load("/nowhere/x.toml")


def test_numbers_may_be_whole(tmp_path: Path) -> None:
    config = recipe.load(write(tmp_path, "[optim]\nlr = 1\n[train]\nepochs = 2"))
    assert (config.optim.lr, config.train.epochs) == (1.0, 2.0)
    assert type(config.optim.lr) is float


def test_finetune_keys_quoted_or_not(tmp_path: Path) -> None:
    quoted = recipe.load(write(tmp_path, '[finetune]\n"optim.lr" = 0.5\n"train.epochs" = 3'))
    plain = recipe.load(write(tmp_path, "[finetune]\noptim.lr = 0.5\ntrain.epochs = 3"))
    assert dict(quoted.finetune) == dict(plain.finetune) == {"optim.lr": 0.5, "train.epochs": 3}
    assert quoted.optim.lr == Config().optim.lr, "they wait for the fine-tuning"


def test_sets_are_read_as_toml_where_that_works() -> None:
    given = ["optim.lr=1e-4", "data.flip=false", "model.video=local-dir:/a=b", "train.steps = 7", "model.text='x'"]
    assert recipe.parse_sets(given) == {
        "optim.lr": 1e-4, "data.flip": False, "model.video": "local-dir:/a=b", "train.steps": 7, "model.text": "x",
    }  # fmt: skip
    with pytest.raises(ConfigError, match=r"--set 'optim\.lr' has no value\n.*section\.key=value"):
        recipe.parse_sets(["optim.lr"])
    with pytest.raises(ConfigError, match=r"data\.flip = 'no' is of the wrong type"):
        recipe.override(Config(), recipe.parse_sets(["data.flip=no"]))
    with pytest.raises(ConfigError, match=r"there is no setting 'lr'\n.*optim\.lr"):
        recipe.override(Config(), {"lr": 1e-4})


def test_differences_read_old_to_new() -> None:
    new = recipe.override(Config(), {"optim.lr": 0.5, "data.workers": 9})
    assert recipe.difference(Config(), new) == ["data.workers: 2 -> 9", "optim.lr: 3e-05 -> 0.5"]
    assert recipe.difference(Config(), new, but=("data.workers",)) == ["optim.lr: 3e-05 -> 0.5"]


def test_every_setting_survives_the_round_trip(tmp_path: Path) -> None:
    """Any value, not just the defaults: each field is moved in turn."""
    texts = {"video": "local-dir:/tmp/Würfel", "text": 'a "quoted" \\ name', "decoder": "pyav", "attention": "joint",
             "time_init": "qkv", "positions": "sincos", "pool": "last", "name": "contrastive", "mask": "tube",
             "precision": "bf16", "device": "cuda:1", "loss": "sigmoid",
             "kind": "unified", "grow_time": "interpolate", "negatives": "hard", "predict_space": "tokens",
             "predict_head": "mlp", "sampler": "dense",
             "text_head": "linear", "pixels": "clip", "activation": "quick_gelu", "freeze": "video,2",
             "best": "t2v R@1", "accumulate_how": "plain", "tracker": "tensorboard", "fit": "crop-bicubic"}  # fmt: skip

    def moved(name: str, old: object) -> object:
        if isinstance(old, bool):
            return not old
        return texts[name] if isinstance(old, str) else old / 3 + 0.2 if isinstance(old, float) else old * 2 or 1

    values = {
        f"{section}.{field.name}": moved(field.name, getattr(getattr(Config(), section), field.name))
        for section in recipe.SECTIONS
        for field in dataclasses.fields(getattr(Config(), section))
    }
    values["model.embed_dim"] = values["model.width"]  # as a unified encoder has it
    config = recipe.override(Config(), values)
    assert len(recipe.difference(Config(), config)) == len(values)
    assert recipe.load(write(tmp_path, recipe.to_toml(config))) == config
