"""Files in the layout of the released checkpoints, with random weights, and the embeddings that they must give.

The embeddings are computed here one token at a time and share no code with `vtr`.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from literal_encoder import encode

WIDTH, DEPTH, PATCH, SIZE, FRAMES, E = 128, 2, 8, 16, 3, 12
TEXT, LAYERS, HIDDEN, PLACES = 64, 2, 96, 20


class ConfigParser:
    """As the released trainers pickle theirs beside the tensors."""

    def __init__(self, text: str) -> None:
        self._config = {"arch": {"args": {"text_params": {"model": text}}}}


def state(vocabulary: int, *, text_proj: str = "txt_proj", seed: int = 0) -> dict[str, torch.Tensor]:
    """The tensors of FrozenInTime (`txt_proj`) or of MILES (`text_proj`), small."""
    random = torch.Generator().manual_seed(seed)
    shapes: dict[str, tuple[int, ...]] = {
        "video_model.cls_token": (1, 1, WIDTH),
        "video_model.pos_embed": (1, 1 + (SIZE // PATCH) ** 2, WIDTH),
        "video_model.temporal_embed": (1, FRAMES, WIDTH),
        "video_model.patch_embed.proj.weight": (WIDTH, 3, PATCH, PATCH),
        "video_model.patch_embed.proj.bias": (WIDTH,),
        "video_model.norm.weight": (WIDTH,),
        "video_model.norm.bias": (WIDTH,),
        "text_model.embeddings.word_embeddings.weight": (vocabulary, TEXT),
        "text_model.embeddings.position_embeddings.weight": (PLACES, TEXT),
        "text_model.embeddings.LayerNorm.weight": (TEXT,),
        "text_model.embeddings.LayerNorm.bias": (TEXT,),
        f"{text_proj}.1.weight": (E, TEXT),
        f"{text_proj}.1.bias": (E,),
        "vid_proj.0.weight": (E, WIDTH),
        "vid_proj.0.bias": (E,),
    }
    for i in range(DEPTH):
        block = f"video_model.blocks.{i}"
        for norm in ("norm1", "norm2", "norm3"):
            shapes |= {f"{block}.{norm}.weight": (WIDTH,), f"{block}.{norm}.bias": (WIDTH,)}
        for attention in ("attn", "timeattn"):
            shapes |= linear(f"{block}.{attention}.qkv", WIDTH, 3 * WIDTH)
            shapes |= linear(f"{block}.{attention}.proj", WIDTH, WIDTH)
        shapes |= linear(f"{block}.mlp.fc1", WIDTH, 4 * WIDTH) | linear(f"{block}.mlp.fc2", 4 * WIDTH, WIDTH)
    for i in range(LAYERS):
        layer = f"text_model.transformer.layer.{i}"
        for part in ("q_lin", "k_lin", "v_lin", "out_lin"):
            shapes |= linear(f"{layer}.attention.{part}", TEXT, TEXT)
        shapes |= linear(f"{layer}.ffn.lin1", TEXT, HIDDEN) | linear(f"{layer}.ffn.lin2", HIDDEN, TEXT)
        for norm in ("sa_layer_norm", "output_layer_norm"):
            shapes |= {f"{layer}.{norm}.weight": (TEXT,), f"{layer}.{norm}.bias": (TEXT,)}
    return {name: 0.2 * torch.randn(shape, generator=random) for name, shape in shapes.items()}


def linear(name: str, fan_in: int, fan_out: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (fan_out, fan_in), f"{name}.bias": (fan_out,)}


def write(path: Path, tensors: dict[str, torch.Tensor], text: str = "", *, parallel: bool = False, **how: Any) -> Path:
    """As the released trainers save: the tensors among other things, with `module.` from DataParallel."""
    named = {("module." if parallel else "") + name: value for name, value in tensors.items()}
    torch.save({"arch": "Net", "epoch": 7, "state_dict": named, "config": ConfigParser(text)}, path, **how)
    return path


def video_vectors(tensors: dict[str, torch.Tensor], clips: torch.Tensor) -> torch.Tensor:
    """(B,T,3,H,W) -> (B,E), rows of length 1."""
    weights = {name.removeprefix("video_model."): value for name, value in tensors.items()}
    weights["patch_embed.weight"] = weights["patch_embed.proj.weight"].flatten(1)
    weights["patch_embed.bias"] = weights["patch_embed.proj.bias"]
    cells = [list(range((SIZE // PATCH) ** 2))] * clips.shape[1]
    rows = [
        encode(clip, cells, weights, heads=WIDTH // 64, depth=DEPTH, patch=PATCH, tubelet=1, attention="divided")[0]
        for clip in clips
    ]
    return F.normalize(torch.stack(rows) @ tensors["vid_proj.0.weight"].T + tensors["vid_proj.0.bias"], dim=1)


def text_vectors(tensors: dict[str, torch.Tensor], ids: torch.Tensor, attention: torch.Tensor) -> torch.Tensor:
    """(B,L), (B,L) -> (B,E), rows of length 1: DistilBERT's first token, through ReLU and a projection."""
    w = {name.removeprefix("text_model."): value for name, value in tensors.items()}
    head = "txt_proj" if "txt_proj.1.weight" in w else "text_proj"
    rows = []
    for caption, seen in zip(ids, attention, strict=True):
        words = caption[seen.bool()]  # padding is last and nobody looks at it
        x = w["embeddings.word_embeddings.weight"][words] + w["embeddings.position_embeddings.weight"][: len(words)]
        x = norm(x, w, "embeddings.LayerNorm")
        for i in range(LAYERS):
            at = f"transformer.layer.{i}"
            q, k, v = (affine(x, w, f"{at}.attention.{part}_lin") for part in "qkv")
            share = torch.softmax(q @ k.T / math.sqrt(TEXT), dim=1)  # 64 wide: one head
            x = norm(x + affine(share @ v, w, f"{at}.attention.out_lin"), w, f"{at}.sa_layer_norm")
            h = affine(x, w, f"{at}.ffn.lin1")
            h = affine(0.5 * h * (1 + torch.erf(h / math.sqrt(2))), w, f"{at}.ffn.lin2")
            x = norm(x + h, w, f"{at}.output_layer_norm")
        rows.append(affine(x[0].clamp(min=0), w, f"{head}.1"))
    return F.normalize(torch.stack(rows), dim=1)


def affine(x: torch.Tensor, w: dict[str, torch.Tensor], name: str) -> torch.Tensor:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def norm(x: torch.Tensor, w: dict[str, torch.Tensor], name: str) -> torch.Tensor:
    mean, var = x.mean(1, keepdim=True), x.var(1, keepdim=True, unbiased=False)
    return (x - mean) / torch.sqrt(var + 1e-12) * w[f"{name}.weight"] + w[f"{name}.bias"]
