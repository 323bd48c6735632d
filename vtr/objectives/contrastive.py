"""Contrast alone, on the full view: the baseline (Frozen in Time) and every fine-tuning.

Source: Frozen in Time (arXiv:2104.00650), section 3.3.
"""

from __future__ import annotations

from torch import Tensor, nn

from vtr.gather import gather
from vtr.losses import norm_softmax
from vtr.models.dual import DualEncoder
from vtr.types import Batch


class Contrastive(nn.Module):
    """Align whole clips with whole captions."""

    def __init__(self, model: DualEncoder) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch, seed: int, masked: bool = True) -> dict[str, Tensor]:  # noqa: ARG002
        """(B,...) -> {"contrastive": ()}; nothing is drawn, so `seed` and `masked` change nothing."""
        video = self.model.encode_video(batch.clips)
        text = self.model.encode_text(batch.ids, batch.attention)
        # A batch may straddle two epochs and hold a clip twice, which is no negative of itself.
        ok, samples = gather(batch.ok), gather(batch.samples)
        loss = norm_softmax(gather(video), gather(text), self.model.temperature, ok, samples)
        return {"contrastive": loss}
