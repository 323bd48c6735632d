"""The space-time ViT over visible patches: Frozen in Time's divided attention, or joint attention.

Letters: B batch, T frames, C channels, H W pixels, S slots, n cells, k visible cells, N tokens, D width.
Source: Frozen in Time (arXiv:2104.00650), section 3.1; MAC (arXiv:2212.00986) for encoding visible patches only.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from vtr.errors import ConfigError
from vtr.models.attention import DividedBlock, left_out
from vtr.models.block import ACTIVATIONS, Block
from vtr.models.patches import normalised, to_bytes, visible_patches
from vtr.models.positions import fit_grid, fit_space, fit_time, grow_time

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
# What a tower's weights were trained with: mean and deviation of the colours, of 0 to 1.
PIXELS = {
    "imagenet": (IMAGENET_MEAN, IMAGENET_STD),
    "clip": (CLIP_MEAN, CLIP_STD),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),  # SigLIP
}
ATTENTIONS = ("divided", "joint")


class VideoEncoder(nn.Module):
    """(B,T,3,H,W) -> (B,1+N,D): CLS and the visible patches, after the final norm.

    A float clip is taken as normalised; a uint8 clip is normalised here, after its hidden patches are dropped.
    `divided`: time then space attention in each block. `joint`: every visible token sees every other (ViT's blocks).
    Patch p of slot t has the position `pos[1+p] + temporal[t]`; `temporal` starts at zero; CLS has `pos[0]` alone; a
    clip with fewer slots uses the first rows of `temporal`; for more slots, or another grid, they are interpolated.
    `drop_path` leaves blocks out of training steps (`drop_blocks`).
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        patch: int = 16,
        tubelet: int = 1,
        frames: int = 4,
        size: int = 224,
        attention: str = "divided",
        time_init: str = "qkv",
        positions: str = "learned",
        pixels: str = "imagenet",
        activation: str = "gelu",
        norm_pre: bool = False,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        if attention not in ATTENTIONS:
            raise ConfigError(f"attention {attention!r} is unknown", f"choose one of: {', '.join(ATTENTIONS)}")
        if width % heads:
            raise ConfigError(f"a width of {width} does not divide into {heads} heads", "choose heads that divide it")
        if size % patch or frames % tubelet:
            raise ConfigError(
                f"clips of {frames} frames of {size} pixels do not divide into "
                f"tubelets of {tubelet} x {patch} x {patch}",
                "choose data.frames and data.size as multiples of model.tubelet and model.patch",
            )
        self.width, self.patch, self.tubelet, self.attention = width, patch, tubelet, attention
        self.grid, self.slots = size // patch, frames // tubelet
        self.cells = self.grid**2
        self.patch_embed = nn.Linear(3 * tubelet * patch * patch, width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + self.cells, width))
        self.temporal_embed = nn.Parameter(torch.zeros(1, self.slots, width))
        # CLIP's ViTs have a norm before the blocks, and another epsilon in all of them.
        norm = partial(nn.LayerNorm, eps=1e-5 if norm_pre else 1e-6)
        self.norm_pre: nn.Module = norm(width) if norm_pre else nn.Identity()
        act = ACTIVATIONS[activation]
        if attention == "divided":
            self.blocks = nn.ModuleList(
                DividedBlock(width, heads, time_init=time_init, norm=norm, act=act) for _ in range(depth)
            )
        else:
            self.blocks = nn.ModuleList(Block(width, heads, norm, act) for _ in range(depth))
        self.drop_blocks(drop_path)
        self.norm = norm(width)
        mean, std = PIXELS[pixels]
        self.register_buffer("mean", to_bytes(mean), persistent=False)
        self.register_buffer("std", to_bytes(std), persistent=False)
        self.apply(init_linear)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        if positions == "sincos":
            self._init_positions(size // patch)
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        for block in self.blocks:
            if isinstance(block, DividedBlock):
                block.init_time()

    def drop_blocks(self, rate: float) -> None:
        """Leaves the last block out of a share `rate` of training samples, and those before it of ever fewer."""
        for i, block in enumerate(self.blocks):
            for name in ("drop_path",) if isinstance(block, DividedBlock) else ("drop_path1", "drop_path2"):
                setattr(block, name, left_out(rate, i, len(self.blocks)))

    @torch.no_grad()
    def _init_positions(self, side: int) -> None:
        """Sin-cos values over rows, columns and time, for training on from there.

        From scratch, positions of trunc_normal 0.02 and a temporal zero are far below the patches' own values, so that
        where and when a patch is has to be found first; these start at the patches' scale.
        """
        rows = sincos(side, self.width // 2)
        grid = torch.cat([rows[:, None].expand(-1, side, -1), rows[None].expand(side, -1, -1)], dim=-1)
        self.pos_embed[0, 1:] = grid.reshape(side * side, self.width)
        self.temporal_embed[0] = sincos(self.slots, self.width)

    @torch.no_grad()
    def fit(self, frames: int, size: int, grow: str = "zeros") -> None:
        """Makes this an encoder for clips of `frames` x `size` x `size`; `grow`: how positions in time become more."""
        grid, slots = size // self.patch, frames // self.tubelet
        self.pos_embed = nn.Parameter(fit_grid(self.pos_embed, self.grid, grid).clone())
        self.temporal_embed = nn.Parameter(grow_time(self.temporal_embed[0], slots, grow)[None].clone())
        self.grid, self.slots, self.cells = grid, slots, grid**2

    def forward(
        self,
        clips: Tensor,
        visible: Tensor | None = None,
        hidden: Tensor | None = None,
        mask_token: Tensor | None = None,
    ) -> Tensor:
        """`visible` (B,S,k) int64: the cells each slot shows, ascending; None shows all.

        Where `hidden` (B,S,n) bool is True, `mask_token` (1,1,D) stands in the patch's place, which keeps its position.
        Raises ConfigError when the clip does not divide into patches.
        """
        patches = visible_patches(clips, visible, self.patch, self.tubelet)
        batch, slots = patches.shape[:2]
        rows, columns = clips.shape[-2] // self.patch, clips.shape[-1] // self.patch
        x = self.patch_embed(normalised(patches, self.mean, self.std, self.patch_embed.weight.dtype))
        if hidden is not None and mask_token is not None:
            x = torch.where(hidden[..., None], mask_token.to(x.dtype), x)
        space = fit_space(self.pos_embed[0, 1:], (self.grid, self.grid), (rows, columns))
        space = space[None, None] if visible is None else space[visible]  # (B,S,k,D)
        x = x + space + fit_time(self.temporal_embed[0], slots)[None, :, None]
        cls = (self.cls_token + self.pos_embed[:, :1]).expand(batch, -1, -1)
        x = torch.cat([cls, x.flatten(1, 2)], dim=1)
        x = self.norm_pre(x)
        for block in self.blocks:
            x = block(x, slots) if self.attention == "divided" else block(x)
        return self.norm(x)  # type: ignore[no-any-return]


def sincos(places: int, width: int) -> Tensor:
    """(places, width), on the CPU as in `to_bytes`: sines and cosines of place times 1 down to 1e-4 (width even)."""
    frequency = 10_000.0 ** -(torch.arange(width // 2, device="cpu") / (width // 2))
    angle = torch.arange(places, device="cpu")[:, None] * frequency
    return torch.cat([angle.sin(), angle.cos()], dim=-1)


def init_linear(module: nn.Module) -> None:
    """Xavier weights, zero biases: MAE's and VideoMAE's start."""
    if isinstance(module, nn.Linear):
        # Fan-in scaled: a fixed 0.02 is far too small for narrow encoders that train from scratch.
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
