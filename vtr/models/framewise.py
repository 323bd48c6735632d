"""An image-text model applied to a clip frame by frame: each frame's vector normalised, then their mean.

Letters: B batch, T frames, H W pixels, L text tokens, E joint embedding. It knows nothing of the order of frames; that
is the baseline that video models are held against (CLIP4Clip, arXiv:2104.08860, calls it mean pooling).
"""

from __future__ import annotations

import hashlib
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FramewiseModel(nn.Module):
    """`model` is of transformers (CLIP, SigLIP ...): it has `get_image_features` and `get_text_features`.

    `mean` and `std` (3,) are of pixels in [0, 1]. With `masked`, the text tower is told what is padding; SigLIP was
    trained without.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: Any, mean: list[float], std: list[float], *, masked: bool = True) -> None:
        super().__init__()
        self.model, self.masked = model, masked
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    @property
    def embed_dim(self) -> int:
        """E: of CLIP its projection's, of SigLIP, which has none, the image tower's width."""
        config = self.model.config
        return int(getattr(config, "projection_dim", 0) or config.vision_config.hidden_size)

    def encode_video(self, clips: Tensor) -> Tensor:
        """(B,T,3,H,W) uint8, or float normalised already -> (B,E)."""
        if not clips.is_floating_point():
            clips = (clips.float() / 255 - self.mean) / self.std
        batch, frames = clips.shape[:2]
        rows = _features(self.model.get_image_features(pixel_values=clips.flatten(0, 1)))
        return F.normalize(rows.float(), dim=-1).view(batch, frames, -1).mean(dim=1)

    def encode_text(self, ids: Tensor, attention: Tensor) -> Tensor:
        """(B,L) int64, (B,L) bool -> (B,E)."""
        mask = {"attention_mask": attention.long()} if self.masked else {}
        return _features(self.model.get_text_features(input_ids=ids, **mask))

    def weights_sha256(self) -> str:
        """SHA-256 over all weights."""
        return weights_sha256(self.model)


def weights_sha256(model: nn.Module) -> str:
    """SHA-256 over the names and bytes of all weights, in the order of their names: whatever file they came in."""
    found = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        found.update(name.encode())
        found.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def _features(found: Any) -> Tensor:
    # Newer versions of transformers hand out the whole output of the tower, older ones the vectors.
    features: Tensor = found if isinstance(found, Tensor) else found.pooler_output
    return features
