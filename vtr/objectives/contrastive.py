"""Contrast alone, on the full view: the baseline (Frozen in Time) and every fine-tuning.

Source: Frozen in Time (arXiv:2104.00650), section 3.3.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from vtr.models.embedder import Model
from vtr.objectives.align import Align, contrast
from vtr.types import Batch


class Contrastive(nn.Module):
    """Align whole clips with whole captions."""

    def __init__(self, model: Model, loss: str = "softmax") -> None:
        super().__init__()
        self.model, self.align = model, Align(loss)

    def forward(self, batch: Batch, seed: int, masked: bool = True) -> dict[str, Tensor]:
        """(B,...) -> {"contrastive": ()}; nothing is drawn, so `seed` and `masked` change nothing."""
        return self.losses(self.rows(batch, seed, masked))

    def rows(self, batch: Batch, seed: int, masked: bool = True) -> dict[str, Tensor]:  # noqa: ARG002
        """(B,...) -> the vectors (B,E) of clips and captions, and what the loss must know of each row."""
        video = self.model.encode_video(batch.clips)
        text = self.model.encode_text(batch.ids, batch.attention)
        return {"video": video, "text": text, "ok": batch.ok, "samples": batch.samples}

    losses = contrast

    def clip_tokens(self, masked: bool) -> int:  # noqa: ARG002
        """How many tokens a clip puts through the encoder."""
        tower: Any = getattr(self.model, "video", self.model)
        return int(hasattr(tower, "cls_token")) + int(tower.slots * tower.cells)
