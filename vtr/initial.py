"""`--init-from`: the weights that a new run begins with, and the settings that they bring.

RUN, frozen:PATH, miles:PATH, simvtp:PATH    a whole model: its [model] section comes with it
clip:NAME, timm:NAME, videomae:NAME         towers of a model hub or a directory: the sizes and what else they need
DIRECTORY                                   a run, or what transformers or timm have saved there
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vtr import build, checkpoint, plainjson, recipe
from vtr.config import Config
from vtr.data.tokenizer import CaptionTokenizer
from vtr.errors import ConfigError, InputError
from vtr.models.clip import PREFIX, clip_shape
from vtr.models.embedder import Model
from vtr.models.joint import UnifiedEncoder
from vtr.models.text import positions
from vtr.models.twin import TwinEncoder
from vtr.models.video import VideoEncoder
from vtr.models.weights import timm_shape, videomae_shape
from vtr.released import is_released

TIMM, VIDEOMAE = "timm:", "videomae:"
# Towers, and a recipe with an encoder that they are parts of.
TOWERS = {"clip": "mac-base", "timm": "mac-base", "videomae": "simvtp-base"}
# What stays as the recipe has it: it concerns training, not what the weights are.
RECIPE = (
    "temperature", "learn_temperature", "time_init", "grow_time", "drop_path", "dropout", "lora_rank", "lora_alpha",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Initial:
    """`config` with what the weights bring; their `name` or hash; the model, where they are a whole one."""

    config: Config
    name: str
    whole: build.Source | None = None


def initial(config: Config, source: str, wanted: Mapping[str, Any] | None = None, *, stage: bool = False) -> Initial:
    """What `config` becomes when training begins with `source`. Frames, size, masks and schedule stay the recipe's.

    `wanted` are settings in `config` that were asked for by name: dotted keys and values. With `stage`, `source` is the
    stage before, begun with the same: its temperature goes on where it was, unless the recipe has another for this one.
    Raises InputError when `source` is nothing of the kind, ConfigError when it brings another value for one of these,
    else loading's errors.
    """
    begun = _initial(config, source, stage=stage)
    for dotted, value in ({} if stage else wanted or {}).items():
        section, _, name = dotted.partition(".")
        brought = getattr(getattr(begun.config, section), name)
        if brought != getattr(getattr(config, section), name):
            raise ConfigError(
                f"--init-from {source} brings {dotted} = {brought}, and {value} was asked for",
                f"leave {dotted} out, or begin with other weights",
            )
    return begun


def _initial(config: Config, source: str, *, stage: bool) -> Initial:
    kind, name = _kind(source)
    if kind in TOWERS and (config.model.kind == "dual") == (kind == "videomae"):
        raise ConfigError(
            f"--init-from {source} has nothing for model.kind = {config.model.kind!r}",
            f"give a recipe like {TOWERS[kind]}, or begin with other weights",
        )
    if kind == "videomae":
        return Initial(recipe.override(config, videomae_shape(name)), source)
    if kind == "clip":
        brought = clip_shape(name)
        brought["data.words"] = min(config.data.words, brought["data.words"])
        return Initial(recipe.override(config, brought), source)
    if kind == "timm":
        return Initial(recipe.override(config, timm_shape(name) | {"model.video": name}), source)
    found = build.load_source(name)
    kept = {field: getattr(config.model, field) for field in RECIPE}
    brought_model = dataclasses.replace(found.config.model, video="", **kept)
    words = config.data.words
    if found.config.model.kind == "dual" and not found.config.model.text:
        words = found.config.data.words  # a text model of our own has positions for just so many
    words = min(words, positions(found.model) or words)
    data = dataclasses.replace(config.data, words=words)
    config = dataclasses.replace(config, model=brought_model, data=data)
    model = adapted(found.model, config)
    build.fit_lora(model, found.config.model, config.model)
    goes_on = stage and config.model.temperature == found.config.model.temperature
    set_temperature(model, config, keep=goes_on)
    old = found.tokenizer
    tokenizer = CaptionTokenizer(old.backend, old.special, words, fixed=data.fixed_length)
    return Initial(config, checkpoint.sha256(found.weights), dataclasses.replace(found, tokenizer=tokenizer))


def adapted(model: Model, config: Config) -> Model:
    """`model` as `config` fine-tunes it: of a unified encoder two copies, its blocks left out, for clips so large."""
    if config.model.kind == "twin" and isinstance(model, UnifiedEncoder):
        model = TwinEncoder(model)
    for tower in (model,) if isinstance(model, UnifiedEncoder) else (model.video, model.text):
        if isinstance(tower, (UnifiedEncoder, VideoEncoder)):
            tower.drop_blocks(config.model.drop_path)
        if isinstance(tower, UnifiedEncoder) and hasattr(tower, "embeddings"):  # of a twin, the copy that reads
            tower.embeddings.dropout.p = config.model.dropout
    fit_clips(model, config)
    return model


def fit_clips(model: Model, config: Config) -> None:
    """Makes `model` one for clips as `config` has them: their frames and their size."""
    data, tower = config.data, model if isinstance(model, UnifiedEncoder) else model.video
    if isinstance(tower, VideoEncoder):
        tower.fit(data.frames, data.size, config.model.grow_time)
    elif isinstance(tower, UnifiedEncoder):
        tower.fit(data.frames, data.size)


def set_temperature(model: Any, config: Config, *, keep: bool = False) -> None:
    """The recipe's temperature in place of the one that came with the weights, but for one to `keep`; learnt or not."""
    if not keep:
        model.log_temperature.data.fill_(math.log(config.model.temperature))
    model.log_temperature.requires_grad_(config.model.learn_temperature)
    model.learn_temperature = config.model.learn_temperature


def _kind(source: str) -> tuple[str, str]:
    for prefix in (PREFIX, TIMM, VIDEOMAE):
        if source.startswith(prefix):
            return prefix.removesuffix(":"), source.removeprefix(prefix)
    path = Path(source).expanduser()
    if is_released(source) or (path / checkpoint.HASHES).is_file() or (path / checkpoint.FOLDER).is_dir():
        return "model", source
    try:
        settings: dict[str, Any] = dict(plainjson.load(path / "config.json"))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"--init-from {source} is no run and no directory with a model in it ({error})",
            "give a run, frozen:PATH, miles:PATH, simvtp:PATH, clip:NAME, timm:NAME, videomae:NAME, or a directory "
            "made by save_pretrained",
        ) from error
    if settings.get("model_type") in ("clip", "videomae"):
        return settings["model_type"], str(path)
    if "architecture" in settings:
        return "timm", f"local-dir:{path}"
    raise InputError(
        f"--init-from {source} holds a {settings.get('model_type', 'model of another kind')}, which is no start",
        "give CLIP, VideoMAE or a timm ViT; a text model alone goes into model.text",
    )
