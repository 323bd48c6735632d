"""`st:`: a model of sentence-transformers that takes videos, used as that library uses it.

st:DIR, st:ORG/NAME          with `frames=N` and `size=N`, else what its config says, else 8 and 224

Captions go the way of `encode_query`, clips that of `encode_document`: prompts, processors and pooling are its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vtr import plainjson
from vtr.data.tokenizer import CaptionTokenizer, Tokens
from vtr.errors import OWN_VECTORS, ConfigError, InputError, RunError, VtrError, WorkError
from vtr.imagetext.hub import frame
from vtr.imagetext.modules import check_modules
from vtr.imagetext.named import FRAMES, ImageText, Named, config_for
from vtr.models.sentence import SentenceModel
from vtr.optional import install

SIZE = 224
LONGEST = 1 << 15  # tokens of a caption, where the model names no limit
CHECKED = ["a red circle moves left", "a star", "two dogs run over a wide green field and a cat looks on"]


class SentenceTokenizer(CaptionTokenizer):
    """The captions' half of a model's `preprocess`: ids and attention; `rest` is what else its forward pass wants."""

    def __init__(self, model: Any) -> None:
        self.model, self.prompt = model, model.prompts.get("query")
        self.length = min(int(model.max_seq_length or LONGEST), LONGEST)
        inner = model.tokenizer
        self.pad_id = self.mask_id = int(getattr(inner, "pad_token_id", None) or 0)
        self.special, self.words = {}, len(inner)
        given = self._given(CHECKED)
        shape = given["input_ids"].shape
        zeros = {name for name, value in given.items() if isinstance(value, Tensor) and value.shape == shape}
        self.zeros = tuple(sorted(zeros - {"input_ids", "attention_mask"}))  # kinds of tokens; of text alone all are 0
        self.rest = {name: value for name, value in given.items() if not isinstance(value, Tensor)}

    @property
    def vocabulary(self) -> int:
        """How many different tokens there are."""
        return self.words

    def __call__(self, captions: Sequence[str]) -> Tokens:
        given = self._given(captions)
        attention = given["attention_mask"].bool().numpy()
        return Tokens(given["input_ids"].long().numpy(), attention, attention)

    def save(self, directory: Path) -> None:
        """Nothing keeps such a tokenizer: its model is opened by name."""
        raise InputError(f"a model of sentence-transformers is not written into {directory}", "use it by its name")

    def _given(self, captions: Sequence[str]) -> Mapping[str, Any]:
        given: Mapping[str, Any] = self.model.preprocess(list(captions), prompt=self.prompt, task="query")
        return given


def open_sentence(named: Named) -> ImageText:
    """Raises InputError: no sentence-transformers. RunError: no model of it. ConfigError: one that takes no video."""
    model = _load(named)
    if not getattr(model, "supports", lambda _: False)("video"):
        takes = ", ".join(map(str, getattr(model, "modalities", ["text"])))
        raise ConfigError(
            f"{named.whole} takes {takes}, and no video",
            f"clip:NAME takes models of images, frame by frame; else {OWN_VECTORS}",
        )
    model.eval().requires_grad_(False)
    words = SentenceTokenizer(model)
    theirs = model.encode_query(CHECKED, convert_to_tensor=True, show_progress_bar=False).flatten(1)
    sentence, tokens = SentenceModel(model, words.zeros, words.rest, theirs.shape[1]), words(CHECKED)
    with torch.inference_mode():
        ours = sentence.encode_text(torch.from_numpy(tokens.ids), torch.from_numpy(tokens.attention))
    if not torch.allclose(ours.float(), theirs.float(), rtol=1e-3, atol=1e-4):
        raise ConfigError(f"{named.whole} makes more of a caption than token ids", OWN_VECTORS)
    folder = Path(named.source).expanduser()
    place = str(folder.resolve()) if folder.is_dir() else named.source
    frames, size, resize, fit = _clip(named, model)
    again = f"st:{place},frames={frames},size={size}"
    config = config_for(
        Named(again, named.kind, place, frames), size, resize, fit, words.length, patch=1, fixed=False
    )  # fmt: skip
    return ImageText(again, config, sentence, words)


def _load(named: Named) -> Any:
    folder = Path(named.source).expanduser()
    if not folder.is_dir() and (folder.is_absolute() or named.source.startswith(".") or "/" not in named.source):
        raise RunError(f"{named.whole}: there is no directory {named.source}", f"give one, or ORG/NAME; {OWN_VECTORS}")
    if folder.is_dir() and not (folder / "modules.json").is_file():
        raise RunError(
            f"{named.whole} was not written by vtr export, nor by sentence-transformers: it has no modules.json",
            OWN_VECTORS,
        )
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise InputError(
            f"{named.whole} needs sentence-transformers, which is not installed",
            install("sentence-transformers"),
        ) from error
    if folder.is_dir():
        check_modules(folder, named.whole)
    try:
        return SentenceTransformer(
            str(folder) if folder.is_dir() else named.source,
            device="cpu",
            trust_remote_code=False,
            model_kwargs={"use_safetensors": True},
        )
    except VtrError:
        raise
    except Exception as error:  # the library raises many kinds
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WorkError(f"{named.whole} could not be loaded, a model of {_who(folder)}: {why}", OWN_VECTORS) from error


def _clip(named: Named, model: Any) -> tuple[int, int, int, str]:
    """(frames, size, resize, fit): as asked for, as the model's config and processor say, or as is usual."""
    config = getattr(model[0], "config", None)
    vision = getattr(config, "vision_config", None) or config
    told = getattr(vision, "image_size", None)
    size = named.size or (told if isinstance(told, int) and told > 0 else SIZE)
    frames = named.frames or int(getattr(vision, "num_frames", None) or FRAMES)
    processor: Any = getattr(model, "processor", None)
    try:
        pictures = getattr(processor, "video_processor", processor).to_dict()
        theirs, resize, fit = frame(named.source, pictures)
    except (VtrError, AttributeError):
        return frames, size, size, "squeeze-bicubic"
    return frames, size, max(size, round(resize * size / theirs)), fit


def _who(folder: Path) -> str:
    """Whose modules a directory holds, as far as it says."""
    try:
        modules = plainjson.load(folder / "modules.json")
        return ", ".join(str(one["type"]) for one in modules)
    except (OSError, ValueError, KeyError, TypeError):
        return "other tools"
