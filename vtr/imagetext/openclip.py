"""`open_clip:` and `timm:`: image-text models of the open_clip library, whose weights timm's are among.

open_clip:ViT-B-32,weights=FILE          an architecture of the library and its weights, a file or a tag
open_clip:DIR, timm:DIR                  a directory with open_clip_config.json and its weights
open_clip:ORG/NAME, timm:NAME            a repository of the model hub; timm:NAME is timm/NAME there
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vtr import plainjson
from vtr.data.tokenizer import CaptionTokenizer, Tokens
from vtr.errors import OWN_VECTORS, ConfigError, InputError, WorkError
from vtr.imagetext.named import ImageText, Named, config_for
from vtr.models.configs import check_folder, check_kernels
from vtr.models.framewise import FramewiseModel
from vtr.optional import library

WAYS = {"shortest": "crop", "squash": "squeeze"}
CONFIG = "open_clip_config.json"
# What a config may tell of its tokenizer; the library hands all that it tells on to transformers, and among the rest is
# what runs the code that lies beside it.
HARMLESS = {"clean", "strip_sep_token", "language", "tokenizer_mode", "reduction_mask", "use_fast", "padding_side"}


class OpenClipTokenizer(CaptionTokenizer):
    """A tokenizer of open_clip as one of ours: every caption has its full length."""

    def __init__(self, tokenizer: Any, length: int) -> None:
        inner = getattr(tokenizer, "tokenizer", None)  # one of transformers, else their own
        self.whole, self.length = tokenizer, length
        self.pad_id = self.mask_id = int(getattr(inner, "pad_token_id", None) or 0)
        self.special = {}

    @property
    def vocabulary(self) -> int:
        """How many different tokens there are."""
        inner = getattr(self.whole, "tokenizer", None)
        return len(inner) if inner is not None else int(self.whole.vocab_size)

    def __call__(self, captions: Sequence[str]) -> Tokens:
        ids = np.asarray(self.whole(list(captions), context_length=self.length).numpy(), np.int64)
        attention = ids != self.pad_id
        return Tokens(ids, attention, attention)

    def save(self, directory: Path) -> None:
        """Nothing keeps such a tokenizer: its model is opened by name."""
        raise InputError(f"a tokenizer of open_clip is not written into {directory}", "use the model by its name")


class Towers(nn.Module):
    """A model of open_clip under the names that transformers' models have, as `FramewiseModel` asks for them."""

    def __init__(self, model: Any, width: int) -> None:
        super().__init__()
        self.model, self.config = model, SimpleNamespace(projection_dim=width)

    def get_image_features(self, pixel_values: Tensor) -> Tensor:
        """(B,3,H,W) -> (B,E)."""
        return self.model.encode_image(pixel_values)  # type: ignore[no-any-return]

    def get_text_features(self, input_ids: Tensor) -> Tensor:
        """(B,L) -> (B,E)."""
        return self.model.encode_text(input_ids)  # type: ignore[no-any-return]


def open_openclip(named: Named) -> ImageText:
    """Raises ConfigError: frames made to fit in a way that is not known. InputError: no open_clip. WorkError."""
    open_clip = library("open_clip", f"{named.whole} needs", "open-clip")
    target, place = _target(named)
    try:
        _refuse_code(named, target)
        with _quiet():
            if target.startswith("local-dir:"):
                make = partial(open_clip.create_model, target, load_weights=False, pretrained_text=False, device="meta")
                check_folder(Path(target.removeprefix("local-dir:")), make, CONFIG)
            model = open_clip.create_model(
                target, pretrained=named.weights or None, device="cpu", require_pretrained=True
            )
            words_of = open_clip.get_tokenizer(target)
    except ConfigError:
        raise
    except Exception as error:  # the library raises many kinds
        raise WorkError(
            f"{named.whole} could not be loaded: {str(error).splitlines()[0] if str(error) else type(error).__name__}",
            "give open_clip:NAME,weights=FILE, or a directory with open_clip_config.json and its weights",
        ) from error
    pictures = open_clip.get_model_preprocess_cfg(model)
    size = pictures.get("size", 224)
    height, width = (size, size) if isinstance(size, int) else size
    way, mode = WAYS.get(pictures.get("resize_mode") or "shortest"), pictures.get("interpolation") or "bicubic"
    if way is None or height != width:
        raise ConfigError(f"{named.whole} makes frames fit in a way that is not known here", OWN_VECTORS)
    length = int(getattr(model, "context_length", None) or getattr(words_of, "context_length", None) or 77)
    patch = getattr(model.visual, "patch_size", None)
    config = config_for(
        named, height, height, f"{way}-{'bilinear' if mode == 'bilinear' else 'bicubic'}", length,
        int(patch[0] if isinstance(patch, Sequence) else patch or 1), fixed=True,
    )  # fmt: skip
    model.eval().requires_grad_(False)
    with torch.inference_mode():
        width = model.encode_text(words_of([""], context_length=length)).shape[-1]
    framewise = FramewiseModel(Towers(model, width), list(pictures["mean"]), list(pictures["std"]), masked=False)
    return ImageText(f"{named.kind}:{place}", config, framewise, OpenClipTokenizer(words_of, length))


def _target(named: Named) -> tuple[str, str]:
    """What open_clip calls it, and what opens it again from any directory."""
    source, options = named.source, f",frames={named.frames}"
    if Path(source).is_dir():
        here = str(Path(source).resolve())
        return f"local-dir:{here}", here + options
    if named.weights:
        file = Path(named.weights)
        return source, f"{source}{options},weights={file.resolve() if file.is_file() else file}"
    if named.kind == "timm":
        return f"hf-hub:timm/{source.removeprefix('timm/')}", source + options
    if "/" not in source or source.startswith((".", "/")):
        raise ConfigError(
            f"{named.whole} names no weights" if "/" not in source else f"there is no directory {source}",
            "give open_clip:NAME,weights=FILE, a directory with open_clip_config.json, or ORG/NAME of the model hub",
        )
    return f"hf-hub:{source.removeprefix('hf-hub:')}", source + options


def _refuse_code(named: Named, target: str) -> None:
    """Raises ConfigError where the config of the model asks for more of its tokenizer than HARMLESS."""
    schema, _, where = target.partition(":")
    if schema == "local-dir":
        path = Path(where, CONFIG)
    elif schema == "hf-hub":
        from huggingface_hub import hf_hub_download

        path = Path(hf_hub_download(where, CONFIG))
    else:
        return  # an architecture of the library's own
    text = plainjson.load(path)["model_cfg"].get("text_cfg", {})
    for other in ("hf_model_name", "hf_tokenizer_name"):
        name = str(text.get(other) or "")
        if name and (name.startswith((".", "/", "~")) or Path(name).exists()):
            raise ConfigError(
                f"{named.whole} takes its {other} from a folder, {name[:80]!r}", "give a model that holds all its parts"
            )
        if name and other == "hf_model_name":
            _refuse_kernels(named, name)
    told = set(text.get("tokenizer_kwargs", {}))
    if told - HARMLESS:
        raise ConfigError(
            f"{named.whole} asks in its {CONFIG} for tokenizer_kwargs that vtr does not pass on: "
            f"{', '.join(sorted(map(str, told - HARMLESS)))[:200]}",
            "take them out of that file if the model works without; code that comes with a model never runs",
        )


def _refuse_kernels(named: Named, name: str) -> None:
    """Raises ConfigError where the text model `name` of the hub asks for code to compute with."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(name, trust_remote_code=False)
    check_kernels({"attn_implementation": config._attn_implementation}, f"{named.whole}, by {name},")
    check_kernels({"experts_implementation": config._experts_implementation}, f"{named.whole}, by {name},")


@contextmanager
def _quiet() -> Iterator[None]:
    """The library tells the root logger what it does, and what it asks about by itself."""
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        root.setLevel(before)
