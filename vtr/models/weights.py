"""Pretrained image weights into the space-time ViT."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vtr.errors import ConfigError, VtrError, WorkError
from vtr.models.block import ACTIVATIONS
from vtr.models.configs import check_folder
from vtr.models.joint import UnifiedEncoder, WordEmbeddings
from vtr.models.positions import fit_grid
from vtr.models.text import hub_config, pretrained_text
from vtr.models.video import PIXELS, VideoEncoder

FIT = "choose model.width, depth, heads, patch, norm_pre and activation as that model has them, or give --init-from"
TOLD = 200  # letters of a list of tensors that an error tells
# What a ViT of images has no weights for: these begin as the encoder begins them.
NEW = ("timeattn", "norm3", "temporal_embed")
# What image models have beside the encoder.
UNUSED = {
    r"(head|fc_norm)\..+": "the image classifier",
    r"attn_pool\..+": "SigLIP's pooling; a clip is pooled by its CLS, which begins anew",
}

# transformers' names of a VideoMAE's parts, and ours.
VIDEOMAE = {
    r"^embeddings\.patch_embeddings\.projection": "patch_embed",
    r"^layernorm\.": "norm.",
    r"^encoder\.layer\.": "blocks.",
    r"attention\.attention\.qkv": "attn.qkv",
    r"attention\.attention\.(query\.bias|q_bias)": "attn.q_bias",
    r"attention\.attention\.(value\.bias|v_bias)": "attn.v_bias",
    r"attention\.output\.dense": "attn.proj",
    r"intermediate\.dense": "mlp.fc1",
    r"output\.dense": "mlp.fc2",
    r"layernorm_before": "norm1",
    r"layernorm_after": "norm2",
}


def load_timm(encoder: VideoEncoder, name: str) -> None:
    """Fills `encoder` with a timm ViT's weights, by its name or as `local-dir:PATH`; time attention stays as it began.

    Raises WorkError when the weights cannot be had, ConfigError when they do not fit.
    """
    import timm

    with _told(name):
        _check_timm(name)
        # Asked for without its classifier, timm would leave what is missing as it was drawn, and only log it.
        model: Any = timm.create_model(name, pretrained=True)
        source: dict[str, Tensor] = model.state_dict()
        if "patch_embed.proj.weight" not in source:
            raise ConfigError(f"the weights {name!r} are not of a vision transformer", FIT)
        source["patch_embed.weight"] = source.pop("patch_embed.proj.weight")
        if "patch_embed.proj.bias" in source:
            source["patch_embed.bias"] = source.pop("patch_embed.proj.bias")
        if "cls_token" in source and source["pos_embed"].shape[1] == model.patch_embed.num_patches:
            # Positions for patches alone (timm's no_embed_class): CLS has none.
            source["pos_embed"] = _with_cls(source["pos_embed"])
        fill_image(encoder, source, model.blocks[0].mlp.act, name)


def timm_shape(name: str) -> dict[str, Any]:
    """The settings that the timm ViT `name` wants of a recipe. Raises what `load_timm` raises."""
    import timm

    with _told(name):
        _check_timm(name)
        with torch.device("meta"):
            model: Any = timm.create_model(name, num_classes=0)
        blocks = getattr(model, "blocks", None)
        if blocks is None or not hasattr(model, "patch_embed"):
            raise ConfigError(f"the weights {name!r} are not of a vision transformer", FIT)
        theirs = blocks[0].mlp.act
        activation = [name for name, act in ACTIVATIONS.items() if alike(act(), theirs)]
        pixels = {mean: pixels for pixels, (mean, _) in PIXELS.items()}
        shape = {
            "width": model.embed_dim, "depth": len(blocks), "heads": blocks[0].attn.num_heads,
            "patch": model.patch_embed.patch_size[0], "norm_pre": not isinstance(model.norm_pre, nn.Identity),
            "activation": activation[0] if activation else "gelu",
            "pixels": pixels.get(tuple(model.pretrained_cfg.get("mean", ())), "imagenet"),
        }  # fmt: skip
    return {f"model.{key}": value for key, value in shape.items()}


def _check_timm(name: str) -> None:
    """Raises ConfigError for a directory whose config is of a far larger model than its weights."""
    import timm

    kind, _, place = name.partition(":")
    if kind == "local-dir":
        check_folder(Path(place), lambda: timm.create_model(name, pretrained=False))


@contextmanager
def _told(name: str) -> Iterator[None]:
    try:
        yield
    except (MemoryError, VtrError):
        raise
    except Exception as error:  # what timm makes of damaged files, and of settings that do not fit, has many kinds
        tried = "the directory" if name.startswith("local-dir:") else "the model hub"
        first, *more = (line.strip() for line in (str(error) or type(error).__name__).splitlines())
        if first.startswith("Error(s) in loading state_dict"):
            # then a line for what is missing, for what is unknown ..
            tensors = "; ".join(line if len(line) <= TOLD else f"{line[:TOLD]} .." for line in more)
            raise ConfigError(
                f"the timm weights {name!r} are not of the model that their config.json names: {tensors}",
                "save the model once more, with the arguments it was made with, or give other weights",
            ) from error
        raise WorkError(
            f"the timm weights {name!r} could not be loaded from {tried}: {first}",
            "connect to the model hub, or give model.video = 'local-dir:PATH' with a timm model saved there",
        ) from error


def fill_image(encoder: VideoEncoder, source: dict[str, Tensor], activation: nn.Module, name: str) -> None:
    """Fills `encoder` with a ViT's tensors by timm's names, `patch_embed.weight` as the convolution (D,3,p,p) has it.

    A tubelet of t frames takes the patch weight divided by t, so that a still clip looks the same; positions are
    interpolated for another grid; without a CLS (SigLIP) the encoder's own stays; without a patch bias (CLIP) it is 0.
    Raises ConfigError when something is left over or missing, or was trained with another activation.
    """
    source = {key: value for key, value in source.items() if not any(re.fullmatch(known, key) for known in UNUSED)}
    _same_activation(encoder, activation, name)
    tubelet = encoder.tubelet
    patch = source["patch_embed.weight"]
    source["patch_embed.weight"] = (patch[:, :, None].expand(-1, -1, tubelet, -1, -1) / tubelet).flatten(1)
    own = encoder.state_dict()
    source.setdefault("patch_embed.bias", torch.zeros_like(own["patch_embed.bias"]))
    if "cls_token" not in source:
        source["cls_token"] = own["cls_token"]
        source["pos_embed"] = _with_cls(source["pos_embed"])
    side = math.isqrt(source["pos_embed"].shape[1] - 1)
    if side**2 == source["pos_embed"].shape[1] - 1:
        source["pos_embed"] = fit_grid(source["pos_embed"], side, encoder.grid)
    unfit = [
        f"{key} is {tuple(value.shape)}, wanted {tuple(own[key].shape)}"
        for key, value in source.items()
        if key in own and own[key].shape != value.shape
    ]
    strange = [f"{key} has no place" for key in source if key not in own]
    missing = [f"{key} is missing" for key in own if key not in source and not any(part in key for part in NEW)]
    problems = unfit + strange + missing
    if problems:
        raise ConfigError(
            f"the weights {name!r} do not fit this encoder: {problems[0]} and {len(problems) - 1} more", FIT
        )
    encoder.load_state_dict(source, strict=False)


def _same_activation(encoder: VideoEncoder | UnifiedEncoder, activation: Any, name: str) -> None:
    wanted: Any = encoder.blocks[0].mlp.act  # type: ignore[union-attr]
    if not alike(activation, wanted):
        raise ConfigError(f"the weights {name!r} were trained with {activation}, this encoder has {wanted}", FIT)


def alike(one: Any, other: Any) -> bool:
    """Whether two activations are the same function; there are several classes of each."""
    x = torch.linspace(-4, 4, 33, device="cpu")
    return torch.allclose(one(x), other(x), atol=1e-6)


def _with_cls(positions: Tensor) -> Tensor:
    return torch.cat([torch.zeros_like(positions[:, :1]), positions], dim=1)


def load_videomae(encoder: UnifiedEncoder, name: str) -> None:
    """Fills a unified encoder's patches and blocks with a VideoMAE's, by its hub name or local directory.

    Raises WorkError when it cannot be had, ConfigError when it does not fit.
    """
    from transformers.activations import ACT2FN

    own = encoder.state_dict()
    state = {key: value for key, value in own.items() if key.startswith(("embeddings.", "log_temperature", "norm."))}
    model = pretrained_text(name, role="video")
    blocks = dict(model.state_dict())
    _same_activation(encoder, ACT2FN[model.config.hidden_act], name)
    for key in [key for key in blocks if key.endswith("attention.query.weight")]:
        layer = key.removesuffix("attention.query.weight")  # encoder.layer.0.attention.
        parts = [blocks.pop(f"{layer}attention.{part}.weight") for part in ("query", "key", "value")]
        blocks[f"{layer}attention.qkv.weight"] = torch.cat(parts)
    for theirs, value in blocks.items():
        ours = theirs
        for old, new in VIDEOMAE.items():
            ours = re.sub(old, new, ours)
        state[ours] = value.flatten(1) if ours == "patch_embed.weight" else value
    matching(encoder, state, name)


def videomae_shape(name: str) -> dict[str, Any]:
    """The settings that the VideoMAE `name` wants of a recipe, from its configuration alone.

    Raises WorkError when it cannot be had, ConfigError when it is another model.
    """
    check_folder(Path(name))
    config = hub_config(name, role="video")
    if config.model_type != "videomae":
        raise ConfigError(f"{name} is a {config.model_type}, not a VideoMAE", "see docs/weights.md for other starts")
    return {
        "model.video": name, "model.width": config.hidden_size, "model.embed_dim": config.hidden_size,
        "model.depth": config.num_hidden_layers, "model.heads": config.num_attention_heads,
        "model.patch": config.patch_size, "model.tubelet": config.tubelet_size,
    }  # fmt: skip


def load_words(embeddings: WordEmbeddings, name: str) -> None:
    """Fills the word embeddings with a BERT's, by its hub name or local directory.

    Raises WorkError when it cannot be had, ConfigError when it has no such embeddings or they do not fit.
    """
    layer = getattr(pretrained_text(name), "embeddings", None)
    state = {} if layer is None else {k: v for k, v in layer.state_dict().items() if not k.endswith("_ids")}
    own = embeddings.state_dict()
    if "position_embeddings.weight" in state:  # a BERT of fewer positions fills the first ones
        given = state["position_embeddings.weight"][: len(own["position_embeddings.weight"])]
        if given.shape[1:] == own["position_embeddings.weight"].shape[1:]:
            state["position_embeddings.weight"] = torch.cat([given, own["position_embeddings.weight"][len(given) :]])
    matching(embeddings, state, name)


def matching(model: torch.nn.Module, state: dict[str, Any], where: str) -> None:
    """Loads `state` whole. Raises ConfigError naming the first tensor that is missing, strange or of another shape."""
    own = model.state_dict()
    problems = [f"{key} is missing" for key in own if key not in state]
    problems += [f"{key} is unknown" for key in state if key not in own]
    problems += [
        f"{key} is {tuple(state[key].shape)}, wanted {tuple(own[key].shape)}"
        for key in own
        if key in state and own[key].shape != state[key].shape
    ]
    if problems:
        raise ConfigError(
            f"the weights in {where} are not of this model: {problems[0]}", f"{len(problems)} tensors differ"
        )
    model.load_state_dict(state)
