"""`st:DIR` and `hf:DIR`: a directory that `vtr export` wrote, for sentence-transformers or transformers, as a model.

Other models of those libraries are not loaded: what one calls "encode" for a video differs from model to model.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vtr import recipe
from vtr.checkpoint import WEIGHTS
from vtr.data import tokenizer as tokenizers
from vtr.errors import OWN_VECTORS, RunError, VtrError
from vtr.released import Opened

KINDS = ("st", "hf")
PREFIX = "encoders."  # of each weight's name in such a directory


def is_exported(name: str) -> bool:
    """Whether `name` is of the form `st:DIR`."""
    return name.partition(":")[0] in KINDS and ":" in name


def open_exported(name: str) -> Opened:
    """The parts of the model in a directory that `vtr export` wrote. Raises RunError: it is none, or damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file
    from transformers import AutoConfig

    kind, _, place = name.partition(":")
    folder = Path(place).expanduser()
    if not folder.is_dir():
        raise RunError(f"{name}: there is no directory {place}", f"give one that vtr export wrote; else {OWN_VECTORS}")
    told = _read(folder / "config.json")
    if told.get("model_type") != "vtr":
        raise RunError(f"{name} was not written by vtr export: models of {_who(folder)} are not loaded", OWN_VECTORS)
    try:
        config = recipe.from_dict(told["recipe"])
        text = dict(told["text"])
        shape = AutoConfig.for_model(text.pop("model_type"), **text)
        words = tokenizers.load(folder, config.data.words, fixed=config.data.fixed_length)
        state = {key.removeprefix(PREFIX): value for key, value in load_file(folder / WEIGHTS).items()}
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, VtrError) as error:
        why = error.message if isinstance(error, VtrError) else str(error)
        raise RunError(f"{name} cannot be loaded: {why}", "export the run again") from error
    return Opened(folder / WEIGHTS, config, words, shape, state, {}, f"{kind}:{folder.resolve()}")


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _who(folder: Path) -> str:
    """Whose model a directory holds, as far as it says."""
    try:
        modules = json.loads((folder / "modules.json").read_text("utf-8"))
        return ", ".join(str(one["type"]) for one in modules)
    except (OSError, ValueError, KeyError, TypeError):
        return "other tools"
