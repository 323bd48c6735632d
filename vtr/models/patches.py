"""Clips cut into patches, and only the visible ones taken up.

Letters: B batch, T frames, t frames of a tubelet, S = T/t slots, p patch side, n cells of the grid, k visible cells.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vtr.errors import ConfigError


def normalised(patches: Tensor, mean: Tensor, std: Tensor, dtype: torch.dtype) -> Tensor:
    """(...,3*m) uint8 patches -> (...,3*m): each colour less its `mean` (3,1), over its `std`, both of 0 to 255.

    Floats are taken as normalised.
    """
    if patches.is_floating_point():
        return patches
    rgb = patches.view(*patches.shape[:-1], 3, -1).to(dtype)
    return ((rgb - mean) / std).flatten(-2)


def to_bytes(colours: Sequence[float]) -> Tensor:
    """Three numbers of 0 to 1 -> (3,1) of 0 to 255."""
    # Reckoned on the CPU: to multiply on the meta device, where models are only counted, torch would load its compiler.
    return (torch.tensor(colours, device="cpu").view(3, 1) * 255).to(torch.get_default_device())


def visible_patches(clips: Tensor, visible: Tensor | None, patch: int, tubelet: int = 1) -> Tensor:
    """(B,T,C,H,W), (B,S,k) int64 | None -> (B,S,k,C*t*p*p): the patches that are seen, laid out as a conv's weight.

    Hidden patches are never copied, so masking saves memory traffic too, and a uint8 clip stays uint8 until here.
    Raises ConfigError when the clip does not divide into patches.
    """
    batch, frames, channels, height, width = clips.shape
    if height % patch or width % patch or frames % tubelet:
        raise ConfigError(
            f"a clip of {frames} frames of {height} x {width} does not divide into "
            f"tubelets of {tubelet} x {patch} x {patch}",
            "choose data.frames and data.size as multiples of model.tubelet and model.patch",
        )
    slots, rows, columns = frames // tubelet, height // patch, width // patch
    grid = clips.reshape(batch, slots, tubelet, channels, rows, patch, columns, patch)
    grid = grid.permute(0, 1, 4, 6, 3, 2, 5, 7)  # (B,S,rows,columns,C,t,p,p), still a view
    if visible is None:
        return grid.reshape(batch, slots, rows * columns, -1)
    b = torch.arange(batch, device=clips.device)[:, None, None]
    s = torch.arange(slots, device=clips.device)[None, :, None]
    return grid[b, s, visible // columns, visible % columns].flatten(3)
