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
    try:
        pos, times = state["video.pos_embed"], state["video.temporal_embed"]
        patch = state["video.patch_embed.weight"]  # (D,3,p,p), and (D,3*p*p) here
        state["video.patch_embed.weight"] = patch.flatten(1)
        words, places = state["text.model.embeddings.word_embeddings.weight"], "embeddings.position_embeddings.weight"
        video = {
            "width": pos.shape[2],
            "depth": count(state, r"video\.blocks\.(\d+)\."),
            "patch": patch.shape[3],
            "frames": times.shape[1],
            "size": math.isqrt(pos.shape[1] - 1) * patch.shape[3],
        }
        text = {
            "vocab_size": words.shape[0],
            "dim": words.shape[1],
            "n_layers": count(state, r"text\.model\.transformer\.layer\.(\d+)\."),
            "hidden_dim": state["text.model.transformer.layer.0.ffn.lin1.weight"].shape[0],
            "max_position_embeddings": state[f"text.model.{places}"].shape[0],
        }
        embed_dim = state["vid_proj.weight"].shape[0]
    except (KeyError, IndexError) as error:
        raise ConfigError(
            f"{path} is no whole {kind} checkpoint: {error} is missing or of another rank", "see docs/weights.md"
        ) from error
    return Released(state, video, text, embed_dim, _text_name(root), unused)


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


def count(state: Mapping[str, Tensor], pattern: str) -> int:
    """How many layers: one more than the highest number that `pattern` finds."""
    return 1 + max((int(match[1]) for name in state if (match := re.match(pattern, name))), default=-1)


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
