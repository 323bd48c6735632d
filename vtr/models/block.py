"""The ViT block of timm, part by part and name by name, so that its weights load as they are.

timm itself takes seconds to import, with torchvision and torch's compiler in tow: only its weights need it.
Letters: B batch, N tokens, D width, h heads, d head width.
Source: ViT (arXiv:2010.11929); stochastic depth (arXiv:1603.09382).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class QuickGELU(nn.Module):
    """(...) -> (...): the approximate GELU of OpenAI's CLIP."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "gelu": nn.GELU, "quick_gelu": QuickGELU, "gelu_tanh": partial(nn.GELU, "tanh"),
}  # fmt: skip


class DropPath(nn.Module):
    """(B,...) -> (B,...): in training each sample is 0 with chance `drop_prob`, the others grow as much."""

    def __init__(self, drop_prob: float) -> None:
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.drop_prob == 0:
            return x
        kept = x.new_empty(x.shape[0], *[1] * (x.ndim - 1)).bernoulli_(1 - self.drop_prob)
        return x * (kept.div_(1 - self.drop_prob) if self.drop_prob < 1 else kept)


class Mlp(nn.Module):
    """(...,D) -> (...,D), through `hidden` channels."""

    def __init__(self, width: int, hidden: int, act: Callable[[], nn.Module] = nn.GELU) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.act = act()
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))  # type: ignore[no-any-return]


class Attention(nn.Module):
    """(B,N,D) -> (B,N,D): every token looks at all."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.qkv(x).view(*x.shape[:2], 3, self.heads, -1).permute(2, 0, 3, 1, 4)  # 3 of (B,h,N,d)
        return self.proj(F.scaled_dot_product_attention(*qkv.unbind(0)).transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class Block(nn.Module):
    """(B,N,D) -> (B,N,D): `y = x + Attn(norm1(x)); out = y + MLP(norm2(y))`."""

    def __init__(
        self, width: int, heads: int, norm: Callable[[int], nn.Module], act: Callable[[], nn.Module] = nn.GELU
    ) -> None:
        super().__init__()
        self.norm1 = norm(width)
        self.attn = Attention(width, heads)
        self.drop_path1: nn.Module = nn.Identity()
        self.norm2 = norm(width)
        self.mlp = Mlp(width, 4 * width, act)
        self.drop_path2: nn.Module = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = x + self.drop_path1(self.attn(self.norm1(x)))
        return y + self.drop_path2(self.mlp(self.norm2(y)))  # type: ignore[no-any-return]
