"""Released research checkpoints' tensors, by our own names.

Every tensor of a file is renamed, or is one of a few that are known and of no use here (each with its reason), or the
file is refused with a list. Sources: the state dicts of m-bain/frozen-in-time and of TencentARC/MCQ's MILES.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from vtr.errors import ConfigError, DataError
from vtr.models import pth
from vtr.models.unpickle import Opaque

HEAD_WIDTH = 64  # of every released model; no tensor tells how many heads share its width
SHOWN = 5
# (pattern of the released name, our name); tried in order, on the whole name
DUAL = (
    (r"video_model\.patch_embed\.proj\.(weight|bias)", r"video.patch_embed.\1"),
    (r"video_model\.((?:cls_token|pos_embed|temporal_embed)|(?:blocks\.\d+|norm)\..+)", r"video.\1"),
    (r"text_model\.((?:embeddings|transformer\.layer)\..+)", r"text.model.\1"),
    (r"(?:txt|text)_proj\.1\.(weight|bias)", r"txt_proj.1.\1"),
    (r"vid_proj\.0\.(weight|bias)", r"vid_proj.\1"),
)  # fmt: skip
UNUSED = {
    r"text_model\.embeddings\.position_ids": "0, 1, 2 ..: a buffer of older transformers, no weight",
    r"video_model\.(head|fc|pre_logits)\..+": "the image classifier; the released models skip it too",
}


@dataclass(frozen=True)
class Released:
    """A released model: its tensors by the names of ours, its shape, and what was left out and why."""

    state: dict[str, Tensor]
    video: dict[str, int]  # width depth patch frames size, of SimVTP tubelet
    text: dict[str, int]  # DistilBertConfig's vocab_size dim n_layers hidden_dim max_position_embeddings
    embed_dim: int
    text_name: str  # the text model that the file says it was trained with; empty when it says nothing
    unused: dict[str, str]
    kind: str = "dual"  # model.kind


def read_dual(path: Path, kind: str) -> Released:
    """Frozen's or MILES's file. Raises DataError when it cannot be read, ConfigError when it is of another model."""
    root = pth.read(path)
    state, unused = renamed(tensors_of(root, path, ("state_dict",)), DUAL, UNUSED, f"{path} ({kind})")
    shapes = Shapes(state, f"{path} is no whole {kind} checkpoint")
    places, width = shapes.of("video.pos_embed", 1, None, None)[1:]
    side = math.isqrt(places - 1)
    if side == 0 or side**2 != places - 1:
        raise shapes.error(f"'video.pos_embed' has {places} places, which is no CLS and a square of patches")
    patch = shapes.of("video.patch_embed.weight", width, 3, None, None)[3]
    shapes.of("video.patch_embed.weight", width, 3, patch, patch)
    vocabulary, dim = shapes.of("text.model.embeddings.word_embeddings.weight", None, None)
    layer = "text.model.transformer.layer"
    hidden = shapes.of(f"{layer}.0.ffn.lin1.weight", None, dim)[0]
    video = {
        "width": width,
        "depth": shapes.layers("video.blocks", "mlp.fc1.weight", 4 * width, width),
        "patch": patch,
        "frames": shapes.of("video.temporal_embed", 1, None, width)[1],
        "size": side * patch,
    }
    text = {
        "vocab_size": vocabulary,
        "dim": dim,
        "n_layers": shapes.layers(layer, "ffn.lin1.weight", hidden, dim),
        "hidden_dim": hidden,
        "max_position_embeddings": shapes.of("text.model.embeddings.position_embeddings.weight", None, dim)[0],
    }
    embed_dim = shapes.of("vid_proj.weight", None, width)[0]
    state["video.patch_embed.weight"] = state["video.patch_embed.weight"].flatten(1)  # (D,3,p,p) -> (D,3*p*p)
    return Released(state, video, text, embed_dim, _text_name(root), unused)


class Shapes:
    """The shapes of a file's tensors, each asked for before a model is built after them: a strange file builds none."""

    def __init__(self, state: Mapping[str, Tensor], begin: str) -> None:
        self.state, self.begin = state, begin

    def error(self, why: str) -> ConfigError:
        return ConfigError(f"{self.begin}: {why}", "see docs/weights.md for the files that are read")

    def of(self, name: str, *wanted: int | None) -> tuple[int, ...]:
        """The shape of `name`; None stands for any length above 0. Raises ConfigError for none or another one."""
        if name not in self.state:
            raise self.error(f"{name!r} is missing")
        shape = tuple(self.state[name].shape)
        fits = len(shape) == len(wanted) and all(
            n > 0 if want is None else n == want for n, want in zip(shape, wanted, strict=True)
        )
        if not fits:
            said = ", ".join("1 or more" if want is None else str(want) for want in wanted)
            raise self.error(f"{name!r} is {shape}, wanted ({said})")
        return shape

    def layers(self, where: str, matrix: str, *wanted: int) -> int:
        """How many layers there are below `where`: 0, 1, 2 .. without a gap, each with its `matrix`, and one at least.

        So what is built after a file is never larger than what is in it. Raises ConfigError as `of`.
        """
        numbered = re.compile(rf"{re.escape(where)}\.(\d+)\.")
        many = len({match[1] for name in self.state if (match := numbered.match(name))})
        for i in range(max(1, many)):
            self.of(f"{where}.{i}.{matrix}", *wanted)
        return many


def tensors_of(root: Any, path: Path, places: tuple[str, ...]) -> dict[str, Tensor]:
    """The state dict in `root`, under the first of `places` that is there, or `root` itself; without `module.`."""
    found = root
    for place in places:
        if isinstance(root, dict) and place in root:
            found = root[place]
            break
    if not isinstance(found, dict) or not found or not all(isinstance(v, Tensor) for v in found.values()):
        raise DataError(f"{path} holds no tensors by name", f"they are looked for under {' or '.join(places)}")
    names = [str(name) for name in found]
    cut = len("module.") if all(name.startswith("module.") for name in names) else 0
    # Copied to float32: the file is only mapped, and released weights may be halves.
    return {
        name[cut:]: value.float() if value.is_floating_point() else value
        for name, value in zip(names, found.values(), strict=True)
    }


def renamed(
    state: Mapping[str, Tensor], names: tuple[tuple[str, str], ...], unused: Mapping[str, str], where: str
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """(tensors by our names, names left out with the reason). Raises ConfigError listing those that are neither."""
    ours: dict[str, Tensor] = {}
    left: dict[str, str] = {}
    strange: list[str] = []
    for name, value in state.items():
        for pattern, reason in unused.items():
            if re.fullmatch(pattern, name):
                left[name] = reason
        if name in left:
            continue
        for pattern, ours_is in names:
            if re.fullmatch(pattern, name) and (new := re.sub(pattern, ours_is, name)) not in ours:
                ours[new] = value
                break
        else:
            strange.append(name)
    if strange:
        more = f" and {len(strange) - SHOWN} more" if len(strange) > SHOWN else ""
        raise ConfigError(
            f"{where} holds tensors that are not known: {', '.join(strange[:SHOWN])}{more}",
            "it is of another model or version; frozen:, miles: and simvtp: name the kinds that are read",
        )
    return ours, left


def heads(width: int) -> int:
    """As many heads of 64 as the width has room for, as in every released model."""
    return max(1, width // HEAD_WIDTH)


def _text_name(root: Any) -> str:
    """`config.arch.args.text_params.model`, where the file carries its configuration."""
    tree = root.get("config") if isinstance(root, dict) else None
    if isinstance(tree, Opaque):  # a ConfigParser, whose attributes are data here
        state = tree.state if isinstance(tree.state, dict) else {}
        tree = state.get("_config", state.get("config"))
    for key in ("arch", "args", "text_params", "model"):
        if isinstance(tree, Opaque) and tree.items:
            pairs = (pair for pair in tree.items if isinstance(pair, tuple) and len(pair) == 2)
            tree = {key: value for key, value in pairs if isinstance(key, str)}
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree if isinstance(tree, str) else ""
