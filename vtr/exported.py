"""`st:DIR` and `hf:DIR`: a directory that `vtr export` wrote, for sentence-transformers or transformers, as a model.

Other models of transformers are not loaded: what one calls "encode" for a video differs from model to model.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vtr import plainjson, recipe
from vtr.checkpoint import WEIGHTS
from vtr.data import tokenizer as tokenizers
from vtr.errors import OWN_VECTORS, RunError, VtrError
from vtr.released import Opened

PREFIX = "encoders."  # of each weight's name in such a directory


def is_exported(name: str) -> bool:
    """Whether `name` is `hf:DIR`, or `st:DIR` and `vtr export` wrote it; others are of `vtr.imagetext`."""
    kind, colon, place = name.partition(":")
    return bool(colon) and (kind == "hf" or (kind == "st" and _is_ours(_read(_folder(place) / "config.json"))))


def open_exported(name: str) -> Opened:
    """The parts of the model in a directory that `vtr export` wrote. Raises RunError: it is none, or damaged."""
    from safetensors.torch import load_file
    from transformers import AutoConfig

    kind, _, place = name.partition(":")
    folder = _folder(place)
    if not folder.is_dir():
        raise RunError(f"{name}: there is no directory {place}", f"give one that vtr export wrote; else {OWN_VECTORS}")
    told = _read(folder / "config.json")
    if not _is_ours(told):
        raise RunError(f"{name} was not written by vtr export", f"clip: and siglip: take others; else {OWN_VECTORS}")
    try:
        config = recipe.from_dict(told["recipe"])
        text = dict(told["text"])
        shape = AutoConfig.for_model(text.pop("model_type"), **text)
        words = tokenizers.load(folder, config.data.words, fixed=config.data.fixed_length)
        state = {key.removeprefix(PREFIX): value for key, value in load_file(folder / WEIGHTS).items()}
    except MemoryError:
        raise
    except Exception as error:  # what transformers makes of a damaged configuration has many kinds
        why = error.message if isinstance(error, VtrError) else str(error).partition("\n")[0]
        raise RunError(f"{name} cannot be loaded: {why}", "export the run again") from error
    return Opened(folder / WEIGHTS, config, words, shape, state, {}, f"{kind}:{folder.resolve()}")


def _folder(place: str) -> Path:
    return Path(place).expanduser()


def _is_ours(told: dict[str, Any]) -> bool:
    return told.get("model_type") == "vtr"


def _read(path: Path) -> dict[str, Any]:
    try:
        found = plainjson.load(path)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
