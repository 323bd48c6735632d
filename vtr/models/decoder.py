"""The pixel decoder: what a few visible tubes tell of the hidden ones. Training alone needs it.

Letters: B batch, S slots, k visible and h hidden cells of a slot, K = S*k, M = S*h, D width, P pixels of a tube.
Source: SimVTP (arXiv:2212.03490), section 3; VideoMAE (arXiv:2203.12602) for the decoder.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vtr.models.joint import JointBlock, sinusoids
from vtr.models.video import init_linear


class PixelDecoder(nn.Module):
    """(B,K,D) visible tubes' outputs -> (B,M,P): the hidden tubes, slot by slot.

    `[proj(visible) + positions; mask token + positions]` through `depth` blocks, a norm and a linear layer.
    """

    positions: Tensor

    def __init__(
        self, encoder_width: int, cells: int, slots: int, pixels: int, width: int = 384, depth: int = 4, heads: int = 6
    ) -> None:
        super().__init__()
        self.cells = cells
        self.proj = nn.Linear(encoder_width, width, bias=False)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.blocks = nn.ModuleList(JointBlock(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, pixels)
        self.register_buffer("positions", sinusoids(slots * cells, width), persistent=False)
        self.apply(init_linear)
        nn.init.trunc_normal_(self.mask_token, std=0.02)

    def forward(self, outputs: Tensor, visible: Tensor, hidden: Tensor) -> Tensor:
        """`visible` (B,S,k), `hidden` (B,S,h) int64: the cells of each slot."""
        x = self.proj(outputs)
        shown, holes = self._places(visible), self._places(hidden)
        x = torch.cat([x + shown, self.mask_token + holes], dim=1)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x[:, -holes.shape[1] :]))  # type: ignore[no-any-return]

    def _places(self, cells: Tensor) -> Tensor:
        first = torch.arange(cells.shape[1], device=cells.device)[:, None] * self.cells
        return self.positions[(first + cells).flatten(1)]
