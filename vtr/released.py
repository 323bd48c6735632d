"""`frozen:PATH`, `miles:PATH` and `simvtp:PATH`: a released checkpoint where a run could stand.

A name may go on with options: `frozen:PATH,text=NAME|DIR,frames=N,size=N,words=N,heads=N,text_heads=N`. Positions are
interpolated for another number of frames or another size. What a file does not tell, and how it is fine-tuned, is as in
the recipe that its kind was published with.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from vtr import plainjson, recipe
from vtr.config import Config, DataConfig, ModelConfig, ObjectiveConfig
from vtr.data.tokenizer import CaptionTokenizer, LaterTokenizer
from vtr.errors import ConfigError
from vtr.kinds import apart, is_of
from vtr.models.positions import fit_grid, fit_time
from vtr.models.released import Released, heads, read_dual
from vtr.models.released_simvtp import read_simvtp

if TYPE_CHECKING:
    from torch import Tensor

# Each kind with the text model that the published weights were trained with.
TEXTS = {"frozen": "distilbert-base-uncased", "miles": "distilbert-base-uncased", "simvtp": "bert-base-uncased"}
# and with the recipe that says how such a model is trained on.
RECIPES = {"frozen": "contrastive-base", "miles": "miles-base", "simvtp": "simvtp-base"}
OPTIONS = {"text": str, "frames": int, "size": int, "words": int, "heads": int, "text_heads": int}
TEMPERATURE = 0.05  # fixed in all of them


@dataclass(frozen=True)
class Opened:
    """A released checkpoint as the parts of a run: what `vtr.build` makes a model of."""

    path: Path
    config: Config
    tokenizer: CaptionTokenizer
    text: Any  # a transformers configuration, None where the text has no tower of its own
    state: dict[str, Tensor]
    unused: dict[str, str]
    name: str  # what opens it again, from any directory


def is_released(name: str) -> bool:
    """Whether `name` is of the form `frozen:PATH`."""
    return is_of(TEXTS, name)


def parse(name: str) -> tuple[str, Path, dict[str, Any]]:
    """`frozen:PATH,frames=8` -> ("frozen", PATH, {"frames": 8}). Raises ConfigError for an unknown or wrong option."""
    kind, path, pairs = apart(name, commas=True)
    options: dict[str, Any] = {}
    for pair in pairs:
        key, _, value = pair.partition("=")
        wanted = OPTIONS.get(key)
        if wanted is None:
            raise ConfigError(f"{name}: there is no option {key!r}", f"options are: {', '.join(OPTIONS)}")
        if wanted is int and not (value.isdecimal() and len(value) < 10 and int(value) > 0):
            raise ConfigError(
                f"{kind}:{path}: {key} = {value[:40]!r} is no whole number above 0 of up to nine digits",
                f"write {key}=4, say",
            )
        options[key] = wanted(value)
    if not path:
        raise ConfigError(f"{name} names no file", f"write {kind}:PATH.pth")
    return kind, Path(path).expanduser(), options


def open_released(name: str) -> Opened:
    """Raises DataError for a file that cannot be read, ConfigError for one of another model or a wrong option.

    The text model's name is the option, or what the file says, or the published one's; only the tokenizer is taken
    from it, and only when captions come as text.
    """
    from transformers import DistilBertConfig

    kind, path, options = parse(name)
    found = read_simvtp(path) if kind == "simvtp" else read_dual(path, kind)
    config = _config(found, options, kind)
    state = found.state | {"log_temperature": torch.tensor(math.log(TEMPERATURE))}
    text = None
    if found.kind == "dual":
        text = DistilBertConfig(n_heads=_text_heads(name, config.model.text, options, found), **found.text)
        side, cells = config.data.size // config.model.patch, found.video["size"] // config.model.patch
        state["video.pos_embed"] = fit_grid(state["video.pos_embed"], cells, side)
        state["video.temporal_embed"] = fit_time(state["video.temporal_embed"][0], config.data.frames)[None]
    if "text" in options and os.path.isdir(options["text"]):  # noqa: PTH112 - Path's raises for a name too long
        options["text"] = str(Path(options["text"]).resolve())
    again = ",".join([f"{kind}:{path.resolve()}", *(f"{key}={value}" for key, value in options.items())])
    rows = found.text["vocab_size"]
    words = LaterTokenizer(
        config.model.text, config.data.words, rows, exact=found.kind != "dual", fixed=config.data.fixed_length
    )
    return Opened(path, config, words, text, state, found.unused, again)


def _text_heads(name: str, text: str, options: dict[str, Any], found: Released) -> int:
    """Of the option, of the text model's directory where it is one, else 64 wide as in every released model."""
    width, many = found.text["dim"], heads(found.text["dim"])
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, OverflowError):
        many = int(options.get("text_heads") or plainjson.load(Path(text) / "config.json")["n_heads"])
    if many < 1 or width % many:
        raise ConfigError(
            f"{name}: a text model {width} wide does not divide into {many} heads", "give text_heads=N, which divide it"
        )
    return many


def _config(found: Released, options: dict[str, Any], kind: str) -> Config:
    published = recipe.load(RECIPES[kind])
    video, size = found.video, options.get("size", found.video["size"])
    words, fixed = found.text["max_position_embeddings"], False
    if found.kind != "dual":  # whose vectors depend on the padding: captions of one length, always
        words, fixed = min(words, published.data.words), published.data.fixed_length
    data = dataclasses.replace(
        published.data,
        frames=options.get("frames", video["frames"]),
        size=size,
        resize=round(size * 256 / 224),
        words=options.get("words", words),
        fixed_length=fixed,
        workers=DataConfig.workers,  # of the machine, not of the weights
    )
    model = ModelConfig(
        kind=found.kind,
        text=options.get("text", found.text_name or TEXTS[kind]),
        width=video["width"],
        depth=video["depth"],
        heads=options.get("heads", heads(video["width"])),
        patch=video["patch"],
        tubelet=video.get("tubelet", 1),
        attention="divided" if found.kind == "dual" else "joint",
        time_init="qkv",
        pool="cls",
        pool_includes_pad=found.kind != "dual",  # as released
        embed_dim=found.embed_dim,
        temperature=TEMPERATURE,
    )
    aligned = ObjectiveConfig(name="contrastive")
    return dataclasses.replace(published, data=data, model=model, objective=aligned, stages=())
