"""A Config to the objects it names, and a run directory back to a model."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from vtr import checkpoint, compute, recipe, runfiles
from vtr.config import Config, ModelConfig
from vtr.data import tokenizer as tokenizers
from vtr.data.loader import ClipShape
from vtr.data.tokenizer import CaptionTokenizer
from vtr.errors import OWN_VECTORS, ConfigError, RunError, VtrError
from vtr.exported import is_exported, open_exported
from vtr.imagetext import is_image_text, open_image_text
from vtr.models.clip import PREFIX, load_clip
from vtr.models.configs import check_layers, check_numbers, held_in
from vtr.models.dual import DualEncoder
from vtr.models.embedder import Embedder, Model
from vtr.models.joint import UnifiedEncoder
from vtr.models.text import TextEncoder, check_vocabulary, check_words, hub_config, pretrained_text, small_text, text_of
from vtr.models.tune import add_lora, merge_lora
from vtr.models.twin import TwinEncoder
from vtr.models.video import VideoEncoder
from vtr.models.weights import load_timm, load_videomae, load_words, matching
from vtr.released import is_released, open_released, parse


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A run in use. `weights_sha256` names its weights for whoever compares embeddings."""

    path: Path
    config: Config
    embedder: Embedder
    tokenizer: CaptionTokenizer
    weights_sha256: str

    @property
    def meta(self) -> dict[str, str]:
        """What embeddings say of the model that made them."""
        return {
            "model": str(self.path),
            "weights_sha256": self.weights_sha256,
            "preprocessing": clip_shape(self.config).in_words,
            "frames": str(self.config.data.frames),
        }

    def embed_video(self, clips: torch.Tensor) -> torch.Tensor:
        """(B,T,3,H,W) normalised float or uint8 -> (B,E), rows of length 1."""
        return self.embedder.embed_video(clips)

    def embed_text(self, ids: torch.Tensor, attention: torch.Tensor) -> torch.Tensor:
        """(B,L) int64, (B,L) bool -> (B,E), rows of length 1."""
        return self.embedder.embed_text(ids, attention)


@dataclasses.dataclass(frozen=True)
class Source:
    """Where a model comes from and what it is; `weights` is the file that its vectors depend on."""

    name: Path
    config: Config
    model: Model
    tokenizer: CaptionTokenizer
    weights: Path


def make_tokenizer(config: Config, captions: Iterable[str]) -> CaptionTokenizer:
    """The pretrained text model's own tokenizer, or a new WordPiece vocabulary of `captions`."""
    data, model = config.data, config.model
    if model.text:
        return tokenizers.pretrained(model.text, data.words, fixed=data.fixed_length)
    return tokenizers.train(captions, data.words, model.vocabulary, fixed=data.fixed_length)


def make_model(config: Config, tokenizer: CaptionTokenizer, kept: Path | None = None, text_config: Any = None) -> Model:
    """The model of `config`. Nothing is fetched when its weights are to follow.

    That is so with `kept`, a checkpoint of ours, and with `text_config`, the shape of the text model of another's.
    """
    model, data = config.model, config.data
    if model.kind != "dual":
        unified = make_unified(config, tokenizer.vocabulary, fetch=kept is None)
        if model.lora_rank:
            add_lora(unified, model.lora_rank, model.lora_alpha)
        return unified
    video = VideoEncoder(
        model.width, model.depth, model.heads, model.patch, model.tubelet, data.frames, data.size,
        model.attention, model.time_init, model.positions, model.pixels, model.activation, model.norm_pre,
        model.drop_path,
    )  # fmt: skip
    fetch = model.video if kept is None and text_config is None else ""
    if fetch and not fetch.startswith(PREFIX):
        load_timm(video, fetch)
    if text_config is not None:
        text = text_of(text_config)
    elif model.text:
        at = model.text if kept is None else str(kept / runfiles.TEXT)
        text = pretrained_text(at, weights=kept is None)
    else:
        text = small_text(
            tokenizer.vocabulary, model.text_width, model.text_depth, model.text_heads, data.words, tokenizer.pad_id
        )
    dual = DualEncoder(
        video, TextEncoder(text, model.pool), model.embed_dim, model.temperature, model.learn_temperature,
        model.text_head,
    )  # fmt: skip
    check_words(dual.text, data.words)
    if tokenizer is not None:  # a model of ours that transformers opens has none
        check_vocabulary(dual.text, tokenizer.vocabulary)
    if fetch.startswith(PREFIX):
        load_clip(dual, fetch.removeprefix(PREFIX), text=fetch == PREFIX + model.text)
    if model.lora_rank:
        add_lora(dual, model.lora_rank, model.lora_alpha)
    return dual


def make_unified(config: Config, vocabulary: int, *, fetch: bool = True) -> UnifiedEncoder | TwinEncoder:
    """The unified encoder of `config` for so many words, or its two copies; without `fetch` no pretrained weights."""
    model, data = config.model, config.data
    unified = UnifiedEncoder(
        vocabulary, model.width, model.depth, model.heads, model.patch, model.tubelet, data.frames, data.size,
        model.dropout, model.drop_path, model.temperature, model.learn_temperature, model.pool_includes_pad,
    )  # fmt: skip
    check_words(unified, data.words)
    if model.video and fetch:
        load_videomae(unified, model.video)
    if model.text and fetch:
        load_words(unified.embeddings, model.text)
    return unified if model.kind == "unified" else TwinEncoder(unified)


def compile_towers(model: Model) -> None:
    """torch.compile on both towers, in place: weights and their names stay. Shapes must stay too.

    Raises ConfigError for a model of one piece.
    """
    if not isinstance(model, DualEncoder):
        raise ConfigError("train.compile = true is for models of two towers", "leave it out for this objective")
    for tower in (model.video, model.text):
        tower.compile(dynamic=False)


def clip_shape(config: Config) -> ClipShape:
    """How videos become clips; augmentation concerns training datasets alone."""
    data = config.data
    return ClipShape(
        data.frames, data.size, data.resize, data.crop_min, data.flip, data.decoder, data.sampler, data.stride,
        still=config.model.tubelet, fit=data.fit,
    )  # fmt: skip


def load_parts(path: Path) -> tuple[Config, Model, CaptionTokenizer, Path]:
    """(config, model on the CPU, tokenizer, checkpoint folder) of a run or one of its checkpoints.

    Raises RunError when it is none, or its weights and config disagree.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = checkpoint.resolve(path)
    try:
        config = recipe.load(str(folder / checkpoint.CONFIG))
        words = tokenizers.load(folder / runfiles.TOKENIZER, config.data.words, fixed=config.data.fixed_length)
        weights = folder / checkpoint.WEIGHTS
        model = _make(config, words, held_in(weights), weights, kept=folder)
        matching(model, load_file(weights), str(folder))
    except (OSError, SafetensorError, VtrError) as error:
        why = error.message if isinstance(error, VtrError) else str(error)
        raise RunError(
            f"{folder} cannot be loaded: {why}", "it was made by another version, or changed since"
        ) from error
    return config, model, words, folder


def _make(
    config: Config, words: CaptionTokenizer, held: int, where: Path, kept: Path | None = None, text_config: Any = None
) -> Model:
    """`make_model`, for weights of `held` numbers. Raises ConfigError, before it is made, for a far larger one."""
    check_layers({"model.depth": config.model.depth, "model.text_depth": config.model.text_depth}, str(where))
    text = text_config
    if kept is not None and config.model.text and config.model.kind == "dual":
        text = hub_config(str(kept / runfiles.TEXT))
    if text is not None:
        check_layers(text.to_dict(), str(where))
    make = partial(make_model, config, words, kept, text_config)
    check_numbers(make, held, str(where))
    return make()


def load_source(source: Path | str) -> Source:
    """The model on the CPU that `source` names: a run, one of its checkpoints, `frozen:PATH` (`vtr.released`), or an
    export, `st:DIR` or `hf:DIR` (`vtr.exported`).

    Raises RunError, DataError or ConfigError when it cannot be loaded.
    """
    name = str(source)
    if is_exported(name):
        exported = open_exported(name)
        held = sum(tensor.numel() for tensor in exported.state.values())
        model = _make(exported.config, exported.tokenizer, held, exported.path, text_config=exported.text)
        matching(model, exported.state, name)
        return Source(Path(exported.name), exported.config, model, exported.tokenizer, exported.path)
    if not is_released(name):
        if re.match(r"[a-z_-]{2,}:", name) and not Path(name).exists():
            raise RunError(f"{name}: models of that kind are not known", f"docs/evaluation.md has all; {OWN_VECTORS}")
        config, model, words, folder = load_parts(Path(source))
        return Source(Path(source).resolve(), config, model, words, folder / checkpoint.WEIGHTS)
    found = open_released(name)
    if found.config.model.kind == "dual":
        model = make_model(found.config, found.tokenizer, text_config=found.text)
    else:
        model = make_unified(found.config, found.tokenizer.vocabulary, fetch=False)
    matching(model, found.state, name)
    return Source(Path(found.name), found.config, model, found.tokenizer, found.path)


def fit_lora(model: Model, old: ModelConfig, new: ModelConfig) -> None:
    """Gives a model of `old` the low-rank updates of `new`: those it has are merged and new ones begin at zero."""
    if (old.lora_rank, old.lora_alpha) != (new.lora_rank, new.lora_alpha):
        if old.lora_rank:
            merge_lora(model)
        if new.lora_rank:
            add_lora(model, new.lora_rank, new.lora_alpha)


def is_here(name: str) -> bool:
    """Whether there is something at `name`, a model as `load_model` takes it."""
    if is_image_text(name) and not is_exported(name):
        return True  # the hub knows
    if is_released(name):
        return parse(name)[1].is_file()
    return bool(name) and Path(name.partition(":")[2] if is_exported(name) else name).is_dir()


def load_model(source: Path | str, device_name: str = "auto", precision_name: str = "auto") -> Loaded:
    """What `load_source` finds, or an image-text model (`vtr.imagetext`), ready to embed. Raises what they raise."""
    if is_image_text(str(source)) and not is_exported(str(source)):
        opened, where = open_image_text(str(source)), compute.device(device_name)
        embedder = Embedder(opened.model, where, compute.DTYPES[compute.precision(precision_name, where)])
        return Loaded(Path(opened.name), opened.config, embedder, opened.tokenizer, opened.model.weights_sha256())
    found = load_source(source)
    if found.config.model.lora_rank:
        merge_lora(found.model)
    where = compute.device(device_name)
    dtype = compute.DTYPES[compute.precision(precision_name, where)]
    sha256 = checkpoint.sha256(found.weights)
    return Loaded(found.name, found.config, Embedder(found.model, where, dtype), found.tokenizer, sha256)
