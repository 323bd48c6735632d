"""A trained model in use: normalised vectors, no gradients.

Letters: B batch, T frames, H W pixels, L text tokens, E joint embedding.
"""

from __future__ import annotations

from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from vtr.models.dual import DualEncoder
from vtr.models.framewise import FramewiseModel
from vtr.models.joint import UnifiedEncoder
from vtr.models.sentence import SentenceModel
from vtr.models.twin import TwinEncoder

# Whatever gives clips and captions a vector each: `encode_video`, `encode_text`, `embed_dim`, `temperature`.
Model: TypeAlias = DualEncoder | UnifiedEncoder | TwinEncoder


class Embedder:
    """The encoders of `model` on `device`; `dtype` is that of the arithmetic, vectors come back as float32."""

    def __init__(
        self,
        model: Model | FramewiseModel | SentenceModel,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.model, self.device, self.dtype = model.to(device).eval(), device, dtype

    @torch.inference_mode()
    def embed_video(self, clips: Tensor) -> Tensor:
        """(B,T,3,H,W) normalised float or uint8 -> (B,E), rows of length 1."""
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            rows = self.model.encode_video(clips.to(self.device))
        return F.normalize(rows.float(), dim=-1)

    @torch.inference_mode()
    def embed_text(self, ids: Tensor, attention: Tensor) -> Tensor:
        """(B,L) int64, (B,L) bool -> (B,E), rows of length 1."""
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            rows = self.model.encode_text(ids.to(self.device), attention.to(self.device))
        return F.normalize(rows.float(), dim=-1)
