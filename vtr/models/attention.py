"""Divided space-time attention, as Frozen in Time has it.

Letters: B batch, S time slots, k visible patches of a slot, N = S*k, D width, h heads, d head width.
Source: Frozen in Time (arXiv:2104.00650), section 3.1; TimeSformer (arXiv:2102.05095) for divided attention.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vtr.models.block import DropPath, Mlp

NORM = partial(nn.LayerNorm, eps=1e-6)


class GroupAttention(nn.Module):
    """(B,1+N,D) -> (B,1+N,D): the CLS query attends to all tokens, a patch query to CLS and its own group.

    `space` groups the patches of one slot; `time` groups the j-th visible patch of every slot. Under a tube mask those
    are the same cells at all times; under per-frame masks the grouping is by rank among the visible (as MAC most
    likely ran).
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, slots: int, group: str) -> Tensor:
        batch, tokens, width = x.shape
        k = (tokens - 1) // slots
        q, key, value = self.qkv(x).view(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)  # (B,h,1+N,d) each
        cls = F.scaled_dot_product_attention(q[:, :, :1], key, value)

        # Patches stand slot by slot: [s0p0 s0p1 .. | s1p0 s1p1 .. | ..] -> (B,h,S,k,d)
        def grouped(t: Tensor) -> Tensor:
            t = t[:, :, 1:].reshape(batch, self.heads, slots, k, -1)
            t = t if group == "space" else t.transpose(2, 3)
            return t.permute(0, 2, 1, 3, 4)  # (B, groups, h, members, d)

        groups = slots if group == "space" else k

        def with_cls(t: Tensor) -> Tensor:
            first = t[:, None, :, :1].expand(-1, groups, -1, -1, -1)
            return torch.cat([first, grouped(t)], dim=3).flatten(0, 1)

        out = F.scaled_dot_product_attention(grouped(q).flatten(0, 1), with_cls(key), with_cls(value))
        out = out.view(batch, groups, *out.shape[1:])  # (B, groups, h, members, d)
        out = out.permute(0, 1, 3, 2, 4) if group == "space" else out.permute(0, 3, 1, 2, 4)
        joined = torch.cat([cls.transpose(1, 2).flatten(2), out.reshape(batch, tokens - 1, width)], dim=1)
        return self.proj(joined)  # type: ignore[no-any-return]


def left_out(rate: float, block: int, blocks: int) -> nn.Module:
    """What leaves the last of `blocks` out of a share `rate` of training samples, and those before it of ever fewer."""
    return DropPath(rate * block / max(1, blocks - 1)) if rate and block else nn.Identity()


class DividedBlock(nn.Module):
    """(B,1+N,D) -> (B,1+N,D): time attention, then space attention, then the MLP.

    `a = x + Time(norm3(x)); y = x + Space(norm1(a)); out = y + MLP(norm2(y))`. The space residual adds to x, not to a.
    `drop_path` leaves out Space and MLP, as released.
    The parts carry the names of a timm ViT block (plus `norm3`, `timeattn`), so its weights load as they are.

    `time_init` makes time attention give zero at the start, so that the block begins as a per-frame block: `qkv` zeroes
    qkv and fills the projection with ones, as released; `proj` zeroes the projection alone.
    Differs from the paper: `proj`, for recipes that start from scratch. With `qkv` time attention has no gradient at
    the start, since ones in the projection add one number to all channels of a token, which the next norm takes away
    again. Only rounding moves it; its query and key stay zero for good, and the channels of its value stay equal.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        mlp_ratio: float = 4.0,
        time_init: str = "qkv",
        norm: Callable[[int], nn.Module] = NORM,
        act: Callable[[], nn.Module] = nn.GELU,
    ) -> None:
        super().__init__()
        self.norm1 = norm(width)
        self.attn = GroupAttention(width, heads)
        self.norm3 = norm(width)
        self.timeattn = GroupAttention(width, heads)
        self.norm2 = norm(width)
        self.mlp = Mlp(width, int(width * mlp_ratio), act)
        self.drop_path: nn.Module = nn.Identity()
        self.time_init = time_init

    def init_time(self) -> None:
        """Sets time attention to give zero; called once, after all other initial weights."""
        if self.time_init == "qkv":
            nn.init.zeros_(self.timeattn.qkv.weight)
            nn.init.zeros_(self.timeattn.qkv.bias)
            nn.init.ones_(self.timeattn.proj.weight)
        else:
            nn.init.zeros_(self.timeattn.proj.weight)
        nn.init.zeros_(self.timeattn.proj.bias)

    def forward(self, x: Tensor, slots: int) -> Tensor:
        a = x + self.timeattn(self.norm3(x), slots, "time")
        y = x + self.drop_path(self.attn(self.norm1(a), slots, "space"))
        return y + self.drop_path(self.mlp(self.norm2(y)))  # type: ignore[no-any-return]
