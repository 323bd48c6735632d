"""CLIP of transformers as a start: its image tower becomes the video encoder's, its text tower the text encoder.

A clip of one frame then has the vector that CLIP gives the picture, and a caption the one CLIP gives it.
Source: CLIP (arXiv:2103.00020).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vtr.errors import ConfigError, WorkError
from vtr.models.configs import check_folder
from vtr.models.dual import DualEncoder
from vtr.models.weights import fill_image

PREFIX = "clip:"
# transformers' name in a layer -> timm's in a block
PARTS = {
    "layer_norm1": "norm1", "layer_norm2": "norm2", "self_attn.out_proj": "attn.proj", "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}  # fmt: skip


def read_clip(name: str) -> Any:
    """The CLIPModel `name`, of the hub or a directory made by save_pretrained.

    Raises WorkError when it cannot be had, ConfigError when it is another model.
    """
    from transformers import AutoConfig, CLIPModel

    _is_clip(name, hub(AutoConfig.from_pretrained, name))
    check_folder(Path(name))
    return hub(CLIPModel.from_pretrained, name)


def clip_shape(name: str) -> dict[str, Any]:
    """The settings that CLIP `name` wants of a recipe, from its configuration alone."""
    from transformers import AutoConfig

    check_folder(Path(name))
    config = hub(AutoConfig.from_pretrained, name)
    _is_clip(name, config)
    vision, text = config.vision_config, config.text_config
    return {
        "model.video": PREFIX + name, "model.text": name, "model.width": vision.hidden_size,
        "model.depth": vision.num_hidden_layers, "model.heads": vision.num_attention_heads,
        "model.patch": vision.patch_size, "model.embed_dim": config.projection_dim, "model.norm_pre": True,
        "model.activation": vision.hidden_act, "model.pixels": "clip", "model.pool": "last",
        "model.text_head": "linear", "data.words": text.max_position_embeddings,
    }  # fmt: skip


def load_clip(model: DualEncoder, name: str, *, text: bool) -> None:
    """Fills the video encoder and its projection with CLIP's; with `text`, the text's projection and the temperature.

    Raises what `read_clip` raises, and ConfigError when the shapes differ.
    """
    from timm.layers import get_act_layer

    whole = read_clip(name)
    vision = whole.vision_model.state_dict()
    fill_image(model.video, _renamed(vision), get_act_layer(whole.config.vision_config.hidden_act)(), PREFIX + name)
    _project(model.vid_proj, whole.visual_projection.weight, name)
    if text:
        _project(model.txt_proj[1], whole.text_projection.weight, name)
        with torch.no_grad():
            model.log_temperature.copy_(-whole.logit_scale)


def _renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    ours: dict[str, Tensor] = {}
    for name, value in state.items():
        match name.removeprefix("vision_model.").split("."):
            case ["embeddings", "class_embedding"]:
                ours["cls_token"] = value[None, None]
            case ["embeddings", "patch_embedding", kind]:
                ours[f"patch_embed.{kind}"] = value
            case ["embeddings", "position_embedding", "weight"]:
                ours["pos_embed"] = value[None]
            case ["embeddings", "position_ids"]:
                pass  # 0, 1, 2 ..: a buffer of older transformers
            case ["pre_layrnorm", kind]:
                ours[f"norm_pre.{kind}"] = value
            case ["post_layernorm", kind]:
                ours[f"norm.{kind}"] = value
            case ["encoder", "layers", i, "self_attn", ("q_proj" | "k_proj" | "v_proj"), kind]:
                stem = name.rsplit(".", 2)[0]
                ours[f"blocks.{i}.attn.qkv.{kind}"] = torch.cat([state[f"{stem}.{part}_proj.{kind}"] for part in "qkv"])
            case ["encoder", "layers", i, *part, kind] if ".".join(part) in PARTS:
                ours[f"blocks.{i}.{PARTS['.'.join(part)]}.{kind}"] = value
            case _:
                ours[name] = value  # `fill_image` says that it has no place
    return ours


def _project(linear: nn.Module, weight: Tensor, name: str) -> None:
    assert isinstance(linear, nn.Linear)  # noqa: S101
    if linear.weight.shape != weight.shape:
        raise ConfigError(
            f"CLIP {name!r} projects {tuple(weight.shape)}, this model {tuple(linear.weight.shape)}",
            "choose model.embed_dim as that model has it, or give --init-from",
        )
    with torch.no_grad():
        linear.weight.copy_(weight)
        linear.bias.zero_()


def hub(load: Any, name: str) -> Any:
    """`load(name)` of transformers. Raises WorkError saying what was tried and what to give instead."""
    try:
        return load(name, trust_remote_code=False)
    except MemoryError:
        raise
    except Exception as error:  # what transformers makes of damaged files has many kinds
        tried = "that directory" if Path(name).is_dir() else "a directory or the model hub"
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise WorkError(
            f"the weights {name!r} could not be loaded from {tried}: {why}",
            "connect to the model hub, or give a directory made by save_pretrained",
        ) from error


def _is_clip(name: str, config: Any) -> None:
    if config.model_type != "clip":
        raise ConfigError(
            f"{name!r} is a {config.model_type} model, not CLIP", "give an image tower as a timm name: model.video"
        )
