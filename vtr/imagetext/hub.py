"""`clip:NAME` and `siglip:NAME`: image-text models of transformers, with what their image processor does to a frame."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vtr.data import tokenizer as tokenizers
from vtr.errors import OWN_VECTORS, ConfigError, VtrError, WorkError
from vtr.imagetext.named import ImageText, Named, config_for, missing_directory
from vtr.models.configs import check_folder
from vtr.models.framewise import FramewiseModel

MODES = {2: "bilinear", 3: "bicubic"}  # PIL's numbers, which preprocessor_config.json has


def open_hub(named: Named) -> ImageText:
    """Raises ConfigError: a model of another kind, pictures made to fit in a way that is not known. WorkError."""
    kind = named.kind
    source = str(Path(named.source).expanduser()) if named.source.startswith("~") else named.source
    model, images = _load(named.whole, source)
    if model.config.model_type not in (kind, f"{kind}2"):
        raise ConfigError(
            f"{source} is a {model.config.model_type!r} model, not {kind!r}", f"{named.whole} wants a {kind} model"
        )
    size, resize, fit = frame(source, images)
    words = int(model.config.text_config.max_position_embeddings)
    patch = int(model.config.vision_config.patch_size)
    config = config_for(named, size, resize, fit, words, patch, fixed=kind == "siglip")
    words_of = tokenizers.pretrained(source, words, fixed=kind == "siglip")
    model.eval().requires_grad_(False)
    framewise = FramewiseModel(model, images["image_mean"], images["image_std"], masked=kind != "siglip")
    place = str(Path(source).resolve()) if Path(source).is_dir() else source
    return ImageText(f"{kind}:{place},frames={named.frames}", config, framewise, words_of)


def frame(source: str, images: Mapping[str, Any]) -> tuple[int, int, str]:
    """(size, resize, fit) of an image processor's settings, `fit` as in `vtr.config.FITS`. Raises ConfigError."""
    size = (
        dict(images.get("size") or {}) if not isinstance(images.get("size"), int) else {"shortest_edge": images["size"]}
    )
    crop = images.get("crop_size") if images.get("do_center_crop") else None
    crop = crop if isinstance(crop, int) or crop is None else crop.get("height")
    resample = images.get("resample")
    mode = MODES.get(3 if resample is None else int(resample))
    if mode is None or not images.get("do_resize", True):
        raise ConfigError(f"{source} makes frames fit in a way that is not known here", OWN_VECTORS)
    short, height, width = size.get("shortest_edge"), size.get("height"), size.get("width")
    if short and not size.get("longest_edge"):
        return int(crop or short), int(short), f"crop-{mode}"
    if height and height == width and crop in (None, height):
        return int(height), int(height), f"squeeze-{mode}"
    raise ConfigError(
        f"{source} does not say how large its images are, or they are not square: size {size}",
        f"its preprocessor_config.json needs a size; else {OWN_VECTORS}",
    )


def _load(name: str, source: str) -> tuple[Any, Mapping[str, Any]]:
    from transformers import AutoImageProcessor, AutoModel

    if missing_directory(source):
        raise WorkError(
            f"{name} could not be loaded: there is no directory {source}",
            "give one that save_pretrained made, or ORG/NAME of the model hub",
        )
    check_folder(Path(source))
    # It counts its attempts at the hub aloud; what came of them is told in one line.
    told = logging.getLogger("huggingface_hub.utils._http")
    before = told.level
    told.setLevel(logging.ERROR)
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
    finally:
        told.setLevel(before)
    return model, images
