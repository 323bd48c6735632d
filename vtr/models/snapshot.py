"""A past copy of the video tower, which tells a student what it should see.

Letters: B batch, T frames, N patches of a clip, D width, E joint embedding.
Source: MILES (arXiv:2204.12408), section 3.2: the snapshot video encoder.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


class Snapshot(nn.Module):
    """(B,T,3,H,W) -> (B,N,D) patch tokens of the whole clip; `vid_proj` takes them to the joint space.

    It has no gradient, stays in eval mode, and changes at `follow` alone. `moves` counts those; a checkpoint keeps it.
    """

    moves: Tensor

    def __init__(self, video: nn.Module, vid_proj: nn.Module) -> None:
        super().__init__()
        self.video, self.vid_proj = copy.deepcopy(video), copy.deepcopy(vid_proj)
        self.register_buffer("moves", torch.zeros((), dtype=torch.int64))
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Snapshot:  # noqa: ARG002
        """Stays in eval mode, whatever the objective around it does."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, clips: Tensor) -> Tensor:
        return self.video(clips)[:, 1:]  # type: ignore[no-any-return]

    @torch.no_grad()
    def follow(self, video: nn.Module, vid_proj: nn.Module, momentum: float = 0.0) -> None:
        """Moves to `momentum` of itself and the rest of the student: 0 is a copy."""
        for own, student in ((self.video, video), (self.vid_proj, vid_proj)):
            for mine, theirs in zip(own.parameters(), student.parameters(), strict=True):
                mine.lerp_(theirs.to(mine.dtype), 1 - momentum)
        self.moves += 1
