"""The divided encoder as the papers say it: one query at a time, over a list of the keys that it may see.

Slow on purpose, and independent of `vtr`: it takes weights by name from a state dict and shares no code.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F


def allowed_keys(query: int, slots: int, k: int, group: str) -> list[int]:
    """The tokens that token `query` attends to; token 0 is CLS, then the patches slot by slot."""
    tokens = 1 + slots * k
    if query == 0:
        return list(range(tokens))
    slot, place = divmod(query - 1, k)
    same = [s * k + p for s in range(slots) for p in range(k) if (s == slot if group == "space" else p == place)]
    return [0] + [1 + i for i in same]


def attend(x, weights, prefix, heads, keys_of):
    """(1+N,D) -> (1+N,D): softmax attention of each query over `keys_of(query)`."""
    width = x.shape[1]
    d = width // heads
    q, k, v = F.linear(x, weights[f"{prefix}.qkv.weight"], weights[f"{prefix}.qkv.bias"]).split(width, dim=1)
    rows = []
    for query in range(len(x)):
        keys, heads_out = keys_of(query), []
        for h in range(heads):
            part = slice(h * d, (h + 1) * d)
            scores = torch.stack([q[query, part] @ k[key, part] for key in keys]) / math.sqrt(d)
            share = torch.exp(scores - scores.max())
            share = share / share.sum()
            heads_out.append(sum(share[i] * v[key, part] for i, key in enumerate(keys)))
        rows.append(torch.cat(heads_out))
    return F.linear(torch.stack(rows), weights[f"{prefix}.proj.weight"], weights[f"{prefix}.proj.bias"])


def norm(x, weights, prefix):
    """LayerNorm with eps 1e-6."""
    mean, var = x.mean(1, keepdim=True), x.var(1, keepdim=True, unbiased=False)
    return (x - mean) / torch.sqrt(var + 1e-6) * weights[f"{prefix}.weight"] + weights[f"{prefix}.bias"]


def divided_block(x, weights, prefix, heads, slots):
    """a = x + Time(norm3(x)); y = x + Space(norm1(a)); out = y + MLP(norm2(y)), on one sample (1+N,D)."""
    k = (len(x) - 1) // slots
    time = attend(
        norm(x, weights, f"{prefix}norm3"),
        weights,
        f"{prefix}timeattn",
        heads,
        lambda i: allowed_keys(i, slots, k, "time"),
    )
    space = attend(
        norm(x + time, weights, f"{prefix}norm1"),
        weights,
        f"{prefix}attn",
        heads,
        lambda i: allowed_keys(i, slots, k, "space"),
    )
    return mlp(x + space, weights, prefix)


def joint_block(x, weights, prefix, heads):
    """The pre-norm block of a ViT, on one sample (1+N,D)."""
    h = norm(x, weights, f"{prefix}norm1")
    return mlp(x + attend(h, weights, f"{prefix}attn", heads, lambda _: list(range(len(x)))), weights, prefix)


def mlp(y, weights, prefix):
    """y + MLP(norm2(y)), with the exact GELU."""
    h = F.linear(
        norm(y, weights, f"{prefix}norm2"), weights[f"{prefix}mlp.fc1.weight"], weights[f"{prefix}mlp.fc1.bias"]
    )
    h = 0.5 * h * (1 + torch.erf(h / math.sqrt(2)))
    return y + F.linear(h, weights[f"{prefix}mlp.fc2.weight"], weights[f"{prefix}mlp.fc2.bias"])


def encode(clip, visible, weights, *, heads, depth, patch, tubelet, attention):
    """One normalised clip (T,C,H,W), `visible` lists of cells by slot -> (1+N,D)."""
    columns = clip.shape[3] // patch
    tokens = [weights["cls_token"][0, 0] + weights["pos_embed"][0, 0]]
    for slot, cells in enumerate(visible):
        for cell in cells:
            r, c = (cell // columns) * patch, (cell % columns) * patch
            tube = clip[slot * tubelet : (slot + 1) * tubelet, :, r : r + patch, c : c + patch]
            values = torch.cat([tube[:, channel].flatten() for channel in range(3)])  # a conv's weight: C, t, p, p
            token = weights["patch_embed.weight"] @ values + weights["patch_embed.bias"]
            tokens.append(token + weights["pos_embed"][0, 1 + cell] + weights["temporal_embed"][0, slot])
    x = torch.stack(tokens)
    for i in range(depth):
        prefix = f"blocks.{i}."
        if attention == "divided":
            x = divided_block(x, weights, prefix, heads, len(visible))
        else:
            x = joint_block(x, weights, prefix, heads)
    return norm(x, weights, "norm")
