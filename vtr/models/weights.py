"""Pretrained image weights into the space-time ViT."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vtr.errors import ConfigError, WorkError
from vtr.models.video import VideoEncoder


def load_timm(encoder: VideoEncoder, name: str) -> None:
    """Fills `encoder` with a timm ViT's weights, by its name or as `local-dir:PATH`; time attention stays as it began.

    A tubelet of t frames takes the patch weight divided by t, so that a still clip looks the same.
    Raises WorkError when the weights cannot be had, ConfigError when they do not fit.
    """
    from pickle import UnpicklingError

    import timm
    from safetensors import SafetensorError

    try:
        source: dict[str, Tensor] = timm.create_model(name, pretrained=True, num_classes=0).state_dict()
    except (OSError, RuntimeError, ValueError, EOFError, SafetensorError, UnpicklingError) as error:
        raise WorkError(
            f"the timm weights {name!r} could not be loaded: {str(error).splitlines()[0]}",
            "connect to the model hub, or give model.video = 'local-dir:PATH' with a timm model saved there",
        ) from error
    fit = "choose model.width, depth, heads, patch and data.size as that model has them"
    if "patch_embed.proj.weight" not in source:
        raise ConfigError(f"the weights {name!r} are not of a vision transformer", fit)
    patch = source.pop("patch_embed.proj.weight")  # (D,3,p,p)
    tubelet = encoder.tubelet
    source["patch_embed.weight"] = (patch[:, :, None].expand(-1, -1, tubelet, -1, -1) / tubelet).flatten(1)
    source["patch_embed.bias"] = source.pop("patch_embed.proj.bias")
    own = encoder.state_dict()
    strange = [f"{key} has no place" for key in source if key not in own and not key.startswith(("head", "fc_norm"))]
    unfit = [
        f"{key} is {tuple(value.shape)}, wanted {tuple(own[key].shape)}"
        for key, value in source.items()
        if key in own and own[key].shape != value.shape
    ]
    new = ("timeattn", "norm3", "temporal_embed")
    missing = [f"{key} is missing" for key in own if key not in source and not any(part in key for part in new)]
    problems = unfit + strange + missing
    if problems:
        raise ConfigError(
            f"the weights {name!r} do not fit this encoder: {problems[0]} and {len(problems) - 1} more", fit
        )
    with torch.no_grad():
        encoder.load_state_dict({key: value for key, value in source.items() if key in own}, strict=False)


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
