"""`clip:NAME` and `siglip:NAME`: an image-text model of transformers where a run could stand, frame by frame.

NAME is a model of the hub or a directory made by save_pretrained. Options may follow: `clip:NAME,frames=12`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vtr.config import Config, DataConfig, ModelConfig
from vtr.data import tokenizer as tokenizers
from vtr.data.tokenizer import CaptionTokenizer
from vtr.errors import ConfigError, VtrError, WorkError
from vtr.models.framewise import FramewiseModel

KINDS = ("clip", "siglip")
FRAMES = 8


@dataclass(frozen=True)
class ImageText:
    """An opened model: `name` opens it again from any directory."""

    name: str
    config: Config
    model: FramewiseModel
    tokenizer: CaptionTokenizer


def is_image_text(name: str) -> bool:
    """Whether `name` is of the form `clip:NAME`."""
    return name.partition(":")[0] in KINDS and ":" in name


def open_image_text(name: str) -> ImageText:
    """The model of `clip:NAME[,frames=N]`, on the CPU.

    Raises ConfigError: an unknown option, a model of another kind. WorkError: it cannot be had.
    Differs from the models' own preprocessing: frames are resized bilinearly by their short side, then the centre is
    cropped; CLIP resizes bicubically, SigLIP squeezes the frame into a square.
    """
    kind, _, rest = name.partition(":")
    source, *pairs = rest.split(",")
    frames = _frames(name, pairs)
    model, images = _load(name, source)
    if model.config.model_type not in (kind, f"{kind}2"):
        raise ConfigError(
            f"{source} is a {model.config.model_type!r} model, not {kind!r}", f"{name} wants a {kind} model"
        )
    size = _side(images.get("crop_size") if images.get("do_center_crop") else None) or _side(images.get("size"))
    resize = _side(images.get("size")) or size
    if size is None or resize is None:
        raise ConfigError(
            f"{source} does not say how large its images are", "its preprocessor_config.json needs a size"
        )
    words = int(model.config.text_config.max_position_embeddings)
    patch = int(model.config.vision_config.patch_size)
    config = Config(
        data=DataConfig(frames=frames, size=size, resize=max(size, resize), words=words, fixed_length=kind == "siglip"),
        model=ModelConfig(patch=patch if size % patch == 0 else 1),
    )
    words_of = tokenizers.pretrained(source, words, fixed=kind == "siglip")
    model.eval().requires_grad_(False)
    framewise = FramewiseModel(model, images["image_mean"], images["image_std"], masked=kind != "siglip")
    place = str(Path(source).resolve()) if Path(source).is_dir() else source
    return ImageText(f"{kind}:{place},frames={frames}", config, framewise, words_of)


def _load(name: str, source: str) -> tuple[Any, Mapping[str, Any]]:
    from transformers import AutoImageProcessor, AutoModel

    try:
        model = AutoModel.from_pretrained(source, trust_remote_code=False, use_safetensors=True)
        images = AutoImageProcessor.from_pretrained(source, trust_remote_code=False).to_dict()
    except VtrError:
        raise
    except Exception as error:  # the library raises many kinds
        raise WorkError(
            f"{name} could not be loaded: {str(error).splitlines()[0] if str(error) else type(error).__name__}",
            "give a directory made by save_pretrained, with safetensors, or connect to the model hub",
        ) from error
    return model, images


def _frames(name: str, pairs: list[str]) -> int:
    for pair in pairs:
        key, _, value = pair.partition("=")
        if key != "frames" or not value.isdigit() or int(value) < 1:
            raise ConfigError(f"{pair!r} in {name!r} is no option", "the one option is frames=N")
        return int(value)
    return FRAMES


def _side(size: Any) -> int | None:
    if isinstance(size, int):
        return size
    return int(size.get("shortest_edge") or size.get("height")) if size else None
