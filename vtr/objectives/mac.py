"""MAC: hide most patches and some words, and align what is left.

Source: Masked Contrastive Pre-Training for Efficient Video-Text Retrieval (arXiv:2212.00986).
"""

from __future__ import annotations

from torch import Tensor, nn

from vtr.masking import known_mask, mask_words, visible_cells, visible_count
from vtr.models.dual import DualEncoder
from vtr.objectives.align import Align, contrast
from vtr.rng import fold_in, fold_in_rows
from vtr.types import Batch


class MAC(nn.Module):
    """Contrast two masked views: `1 - mask_ratio` of each frame, and the caption with `[MASK]` for some of its words.

    With both ratios 0 this is the unmasked baseline, Frozen in Time, to the bit. Raises ConfigError for a ratio that
    hides everything and for an unknown `mask`.
    """

    def __init__(
        self,
        model: DualEncoder,
        mask_id: int,
        mask_ratio: float = 0.6,
        word_ratio: float = 0.15,
        mask: str = "per_frame",
        loss: str = "softmax",
    ) -> None:
        super().__init__()
        self.model, self.mask_id, self.word_ratio, self.mask = model, mask_id, word_ratio, known_mask(mask)
        self.align = Align(loss)
        self.visible = visible_count(model.video.cells, mask_ratio)

    def forward(self, batch: Batch, seed: int, masked: bool = True) -> dict[str, Tensor]:
        """(B,...) -> {"contrastive": ()}. `masked` False shows everything: the tail of a run may use it."""
        return self.losses(self.rows(batch, seed, masked))

    def rows(self, batch: Batch, seed: int, masked: bool = True) -> dict[str, Tensor]:
        """(B,...) -> the vectors (B,E) of both masked views; a row's masks follow from its sample alone."""
        visible, ids = None, batch.ids
        if masked:
            rows = fold_in_rows(seed, batch.samples)
            cells, slots = self.model.video.cells, batch.clips.shape[1] // self.model.video.tubelet
            if self.visible < cells:
                visible = visible_cells(rows, slots, cells, self.visible, self.mask)
            words = fold_in_rows(fold_in(seed, 1), batch.samples)
            ids = mask_words(ids, batch.maskable, self.mask_id, self.word_ratio, words)
        video = self.model.encode_video(batch.clips, visible)
        text = self.model.encode_text(ids, batch.attention)
        return {"video": video, "text": text, "ok": batch.ok, "samples": batch.samples}

    losses = contrast

    def clip_tokens(self, masked: bool) -> int:
        """How many tokens a clip puts through the encoder."""
        return 1 + self.model.video.slots * (self.visible if masked else self.model.video.cells)
